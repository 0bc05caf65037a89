// A real OpenID Provider (npm oidc-provider) for tests; loopback only, on free ports.
// The first line on standard output is JSON: {"issuer": URL, "control": URL}.
// Control: POST /client (client metadata), GET /rotate?keep=1|0, GET /down?ms=N, GET /groups?user=U&groups=a,b,
//          GET /revoke?user=U (ends the user's grants).
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import http from 'node:http';
import { Provider } from 'oidc-provider';

const users = {
  alice: { email: 'alice@example.test', email_verified: true, name: 'Alice A', groups: ['eng', 'oncall'] },
  bob: { email: 'bob@example.test', email_verified: false, name: 'Bob B', groups: ['sales'] },
};
const clients = new Map();
const userinfoOnly = process.env.USERINFO_ONLY === '1';

// One store for all Provider objects, so that sessions and grants outlive a key rotation.
const store = new Map();
class Store {
  constructor(model) { this.model = model; }
  key(id) { return `${this.model}:${id}`; }
  async upsert(id, payload, ttl) { store.set(this.key(id), { payload, until: ttl ? Date.now() + ttl * 1000 : Infinity }); }
  async find(id) { const e = store.get(this.key(id)); return e && e.until > Date.now() ? e.payload : undefined; }
  async findBy(field, value) {
    for (const [key, e] of store) if (key.startsWith(`${this.model}:`) && e.payload[field] === value) return e.payload;
  }
  findByUserCode(code) { return this.findBy('userCode', code); }
  findByUid(uid) { return this.findBy('uid', uid); }
  async consume(id) { const e = store.get(this.key(id)); if (e) e.payload.consumed = Math.floor(Date.now() / 1000); }
  async destroy(id) { store.delete(this.key(id)); }
  async revokeByGrantId(grant) { for (const [key, e] of store) if (e.payload.grantId === grant) store.delete(key); }
}

const newKey = (alg) => {
  const { privateKey } = alg === 'ES256' ? generateKeyPairSync('ec', { namedCurve: 'P-256' }) : generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: `${alg}-${randomUUID().slice(0, 8)}` };
};
let keys = [newKey('RS256'), newKey('ES256')];
let handler, issuer, downUntil = 0;

function build() {
  handler = new Provider(issuer, {
    adapter: Store,
    // Its own calls (back-channel logout) refuse loopback addresses unless the guard is taken off.
    fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
    clients: [...clients.values()],
    jwks: { keys },
    cookies: { keys: ['test-cookie-key'] },
    pkce: { required: () => true },
    scopes: ['openid', 'offline_access', 'profile', 'email', 'groups'],
    claims: { openid: ['sub'], profile: ['name'], email: ['email', 'email_verified'], groups: ['groups'] },
    conformIdTokenClaims: userinfoOnly,
    findAccount: (ctx, id) => users[id] && { accountId: id, claims: async () => ({ sub: id, ...users[id] }) },
    rotateRefreshToken: true,
    ttl: { AccessToken: 300, IdToken: 300, AuthorizationCode: 60, Session: 3600, Grant: 3600, Interaction: 600, RefreshToken: 3600 },
    features: { devInteractions: { enabled: true }, rpInitiatedLogout: { enabled: true }, backchannelLogout: { enabled: true } },
  }).callback();
}

const read = async (request) => { let body = ''; for await (const chunk of request) body += chunk; return body; };
async function control(request, response) {
  const { pathname, searchParams: query } = new URL(request.url, 'http://x');
  if (pathname === '/client') { const client = JSON.parse(await read(request)); clients.set(client.client_id, client); build(); }
  else if (pathname === '/rotate') { const fresh = [newKey('RS256'), newKey('ES256')]; keys = query.get('keep') === '0' ? fresh : [...fresh, ...keys]; build(); }
  else if (pathname === '/down') downUntil = Date.now() + Number(query.get('ms'));
  else if (pathname === '/groups') users[query.get('user')].groups = query.get('groups').split(',').filter(Boolean);
  else if (pathname === '/revoke') { for (const [key, e] of store) if (e.payload.accountId === query.get('user') && !key.startsWith('Session:')) store.delete(key); }
  else { response.writeHead(404).end(); return; }
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ kids: keys.map((key) => key.kid) }));
}

const listen = (handle) => new Promise((done) => { const s = http.createServer(handle); s.listen(0, '127.0.0.1', () => done(`http://127.0.0.1:${s.address().port}`)); });
issuer = await listen((q, s) => (Date.now() < downUntil ? s.writeHead(503).end() : handler(q, s)));
build();
console.log(JSON.stringify({ issuer, control: await listen(control) }));
