// A MOCK of a Kubernetes API server: it answers as one does for what the tests ask of it, and judges credentials and impersonation by the same rules.
// Arguments: KEY CERTIFICATE CLIENT_CA TOKEN_FILE. The first line on standard output is JSON, {"port": N}; each further one is a request as it was understood.
// Who may do what: the group `sre` anything, `staff` may read; impersonating is for whoever has the token, or a certificate of the mesh.
import { readFileSync } from 'node:fs';
import http2 from 'node:http2';
import { WebSocketServer, createWebSocketStream } from 'ws';
import { serve } from './spdy.mjs';

const [key, cert, ca, tokenFile] = process.argv.slice(2);
const META = { kind: 'Status', apiVersion: 'v1', metadata: {} };
const PORT_FORWARD = 'portforward.k8s.io';
const SUCCESS = JSON.stringify({ ...META, status: 'Success' });

const failure = (code, reason, message) => ({ ...META, status: 'Failure', message, reason, code });
const pod = (version) => ({
  kind: 'Pod', apiVersion: 'v1',
  metadata: { name: 'web', namespace: 'default', uid: 'a-pod', resourceVersion: `${version}`, creationTimestamp: '2026-01-01T00:00:00Z' },
  spec: { containers: [{ name: 'web', image: 'web' }] },
  status: { phase: 'Running', containerStatuses: [{ name: 'web', ready: true, restartCount: 0, state: { running: {} } }] },
});
const resource = (name, kind, verbs, namespaced = true) => ({ name, singularName: '', namespaced, kind, verbs });
const RESOURCES = [
  resource('namespaces', 'Namespace', ['get', 'list', 'watch'], false),
  resource('pods', 'Pod', ['get', 'list', 'watch']),
  resource('pods/exec', 'PodExecOptions', ['create', 'get']),
  resource('pods/log', 'Pod', ['get']),
  resource('pods/portforward', 'PodPortForwardOptions', ['create', 'get']),
];

// Who somebody is: by certificate, by token, or by the token that a WebSocket's client names among its protocols; in this order.
function authenticated(request) {
  const shown = request.socket.authorized && request.socket.getPeerCertificate();
  if (shown && shown.subjectaltname) return shown.subjectaltname.replace('URI:', '');
  const token = readFileSync(tokenFile, 'utf8').trim();
  if (request.headers.authorization === `Bearer ${token}`) return 'system:serviceaccount:wayleave:edge';
  const named = /base64url\.bearer\.authorization\.k8s\.io\.([\w-]+)/.exec(request.headers['sec-websocket-protocol'] ?? '');
  return named ? `token ${Buffer.from(named[1], 'base64url')}` : null;
}

function lines(request, name) {
  const found = [];
  const raw = request.rawHeaders;
  for (let at = 0; at < raw.length; at += 2) {
    if (raw[at].toLowerCase() === name) found.push(Buffer.from(raw[at + 1], 'latin1').toString('utf8'));
  }
  return found;
}

// The user that a request is for, or the refusal.
function user(request, url) {
  const by = authenticated(request);
  const refused = (said) => ({ refused: said });
  if (!by) return refused(failure(401, 'Unauthorized', 'Unauthorized'));
  const [username] = lines(request, 'impersonate-user');
  const extra = {};
  for (const name of Object.keys(request.headers).filter((name) => name.startsWith('impersonate-extra-'))) {
    extra[name.slice('impersonate-extra-'.length)] = lines(request, name);
  }
  const who = { by, username, groups: [...lines(request, 'impersonate-group'), 'system:authenticated'], extra };
  const ours = Object.keys(request.headers).filter((name) => name.startsWith('impersonate') || name.startsWith('wayleave') || name === 'authorization');
  console.log(JSON.stringify({ method: request.method, path: url.pathname, query: url.search, version: request.httpVersion, headers: ours, ...who }));
  if (!username) return refused(failure(403, 'Forbidden', `User "${by}" impersonates nobody`));
  const reads = request.method === 'GET' && !/\/(exec|portforward)$/.test(url.pathname);
  const asks = url.pathname.endsWith('selfsubjectreviews');
  if (asks || who.groups.includes('sre') || (reads && who.groups.includes('staff'))) return who;
  return refused(failure(403, 'Forbidden', `pods is forbidden: User "${username}" cannot do this in the namespace "default"`));
}

function json(response, code, body) {
  const text = JSON.stringify(body);
  response.writeHead(code, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  response.end(text);
}

// Something every tenth of a second, until nobody listens.
function ticking(response, type, piece) {
  response.writeHead(200, { 'content-type': type });
  let count = 0;
  const tick = () => response.write(piece(count += 1));
  tick();
  const timer = setInterval(tick, 100);
  response.on('close', () => clearInterval(timer));
}

function answer(request, response) {
  const url = new URL(request.url, 'https://api');
  const who = user(request, url);
  if (who.refused) return json(response, who.refused.code, who.refused);
  const pods = '/api/v1/namespaces/default/pods';
  const event = (count) => `${JSON.stringify({ type: count === 1 ? 'ADDED' : 'MODIFIED', object: pod(count) })}\n`;
  switch (`${request.method} ${url.pathname}`) {
    case 'GET /version': return json(response, 200, { major: '1', minor: '32', gitVersion: 'v1.32.0-mock' });
    case 'GET /api': return json(response, 200, { kind: 'APIVersions', versions: ['v1'] });
    case 'GET /apis': return json(response, 200, { kind: 'APIGroupList', apiVersion: 'v1', groups: [] });
    case 'GET /api/v1': return json(response, 200, { kind: 'APIResourceList', groupVersion: 'v1', resources: RESOURCES });
    case 'POST /apis/authentication.k8s.io/v1/selfsubjectreviews':
      return json(response, 201, { kind: 'SelfSubjectReview', apiVersion: 'authentication.k8s.io/v1', metadata: {}, status: { userInfo: { username: who.username, groups: who.groups, extra: who.extra } } });
    case `GET ${pods}`:
      if (url.searchParams.get('watch')) return ticking(response, 'application/json', event);
      return json(response, 200, { kind: 'PodList', apiVersion: 'v1', metadata: { resourceVersion: '1' }, items: [pod(1)] });
    case `GET ${pods}/web`: return json(response, 200, pod(1));
    case `GET ${pods}/web/log`:
      if (url.searchParams.get('follow')) return ticking(response, 'text/plain', (count) => `line ${count}\n`);
      return response.end('one line\n');
    case `GET ${pods}/web/proxy/`: return json(response, 401, { from: 'the pod' });
    default: return json(response, 404, failure(404, 'NotFound', 'the server could not find the requested resource'));
  }
}

// What a command in the pod does: `cat` says everything back, anything else says who it is for.
function run(url, who, { stdin, stdout, ended }) {
  if (url.searchParams.get('command') !== 'cat') {
    stdout(`${who.username}\n`);
    return ended();
  }
  stdin?.on('data', stdout);
  stdin?.on('end', ended);
  return undefined;
}

// By WebSocket each message begins with its channel; 255 says that one has ended.
function execByWebSocket(socket, url, who) {
  const listeners = {};
  const stdin = { on: (what, listener) => { listeners[what] = listener; } };
  const send = (channel) => (bytes) => socket.send(Buffer.concat([Buffer.from([channel]), Buffer.from(bytes)]));
  socket.on('message', (message) => {
    if (message[0] === 0) listeners.data?.(message.subarray(1));
    if (message[0] === 255 && message[1] === 0) listeners.end?.();
  });
  run(url, who, { stdin, stdout: send(1), ended: () => { send(3)(SUCCESS); socket.close(1000); } });
}

// By SPDY each stream says what it is.
function execBySpdy(socket, url, who) {
  const streams = {};
  const wanted = ['error', 'stdin', 'stdout', 'stderr'].filter((kind) => kind === 'error' || url.searchParams.get(kind) === 'true');
  return serve(socket, (stream) => {
    streams[stream.headers.streamtype] = stream;
    if (!wanted.every((kind) => streams[kind])) return;
    const ended = () => {
      streams.error.send(SUCCESS);
      Object.values(streams).forEach((each) => each.end());
    };
    run(url, who, { stdin: streams.stdin?.input, stdout: (bytes) => streams.stdout.send(bytes), ended });
  });
}

// The port in the pod says everything back.
const portForward = (socket) => serve(socket, (stream) => {
  if (stream.headers.streamtype !== 'data') return;
  stream.input.on('data', (bytes) => stream.send(bytes));
  stream.input.on('end', () => stream.end());
});

const sockets = new WebSocketServer({ noServer: true, handleProtocols: (offered) => [...offered].find((name) => name.startsWith('v5.channel')) ?? false });
// Kubernetes' name for port-forward has a slash, which is no token; the library would refuse it.
const TUNNEL = 'SPDY/3.1+portforward.k8s.io';
sockets.on('headers', (headers, request) => { if (request.tunnels) headers.push(`Sec-WebSocket-Protocol: ${TUNNEL}`); });

function upgrade(request, socket, head) {
  const url = new URL(request.url, 'https://api');
  const who = user(request, url);
  socket.on('error', () => {});
  if (who.refused) {
    const text = JSON.stringify(who.refused);
    socket.end(`HTTP/1.1 ${who.refused.code} Refused\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(text)}\r\nConnection: close\r\n\r\n${text}`);
    return;
  }
  const forwards = url.pathname.endsWith('/portforward');
  if (request.headers.upgrade.toLowerCase() === 'websocket') {
    request.tunnels = request.headers['sec-websocket-protocol'] === TUNNEL;
    if (request.tunnels) delete request.headers['sec-websocket-protocol'];
    sockets.handleUpgrade(request, socket, head, (opened) => {
      if (forwards) portForward(createWebSocketStream(opened)).catch(() => {});
      else execByWebSocket(opened, url, who);
    });
    return;
  }
  const protocol = forwards ? PORT_FORWARD : 'v4.channel.k8s.io';
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: ${protocol}\r\n\r\n`);
  if (head.length > 0) socket.unshift(head);
  (forwards ? portForward(socket) : execBySpdy(socket, url, who)).catch(() => {});
}

const read = (file) => readFileSync(file);
const server = http2.createSecureServer({ key: read(key), cert: read(cert), ca: read(ca), requestCert: true, rejectUnauthorized: false, allowHTTP1: true });
server.on('request', answer);
server.on('upgrade', upgrade);
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })));
// It ends with whoever started it.
process.stdin.on('end', () => process.exit(0)).resume();
