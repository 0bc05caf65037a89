// SPDY/3.1 as Kubernetes speaks it for exec and port-forward: no flow control, headers as they are. For the mock API server alone.
import { createRequire } from 'node:module';
import { PassThrough } from 'node:stream';
import zlib from 'node:zlib';

// The dictionary of SPDY/3 (draft 3.1 §2.6.10.1).
const { dictionary } = createRequire(import.meta.url)('spdy-transport').protocol.spdy;
const [SYN_STREAM, SYN_REPLY, RST_STREAM, PING, GOAWAY] = [1, 2, 3, 6, 7];
const FIN = 1;

// What a chunk comes to in a compression whose state goes on.
const through = (stream, chunk) => new Promise((resolve) => {
  const out = [];
  const take = (piece) => out.push(piece);
  stream.on('data', take);
  stream.write(chunk, () => stream.flush(zlib.constants.Z_SYNC_FLUSH, () => {
    stream.off('data', take);
    resolve(Buffer.concat(out));
  }));
});

function readHeaders(block) {
  const headers = {};
  let at = 4;
  const text = () => {
    const length = block.readUInt32BE(at);
    at += 4 + length;
    return block.toString('utf8', at - length, at);
  };
  for (let left = block.readUInt32BE(0); left > 0; left -= 1) {
    const name = text();
    headers[name.toLowerCase()] = text();
  }
  return headers;
}

// Serves one connection; each stream that the client opens is given to `opened` as { headers, input, send(bytes), end() }.
export async function serve(socket, opened) {
  const inflate = zlib.createInflate({ dictionary: dictionary[3] });
  const deflate = zlib.createDeflate({ dictionary: dictionary[3] });
  const streams = new Map();
  const frame = (type, flags, body) => {
    const head = Buffer.alloc(8);
    head.writeUInt16BE(0x8003, 0);
    head.writeUInt16BE(type, 2);
    head.writeUInt32BE(body.length, 4);
    head.writeUInt8(flags, 4);
    socket.write(Buffer.concat([head, body]));
  };
  const data = (id, flags, bytes) => {
    const head = Buffer.alloc(8);
    head.writeUInt32BE(id, 0);
    head.writeUInt32BE(bytes.length, 4);
    head.writeUInt8(flags, 4);
    socket.write(Buffer.concat([head, bytes]));
  };
  const opens = async (flags, body) => {
    const id = body.readUInt32BE(0);
    const headers = readHeaders(await through(inflate, body.subarray(10)));
    const nothing = await through(deflate, Buffer.alloc(4));
    const reply = Buffer.alloc(4);
    reply.writeUInt32BE(id);
    frame(SYN_REPLY, 0, Buffer.concat([reply, nothing]));
    const input = new PassThrough();
    streams.set(id, input);
    if (flags & FIN) input.end();
    opened({ headers, input, send: (bytes) => data(id, 0, Buffer.from(bytes)), end: () => data(id, FIN, Buffer.alloc(0)) });
  };
  let left = Buffer.alloc(0);
  for await (const chunk of socket) {
    left = Buffer.concat([left, chunk]);
    while (left.length >= 8) {
      const length = left.readUInt32BE(4) & 0xffffff;
      if (left.length < 8 + length) break;
      const [flags, body] = [left.readUInt8(4), left.subarray(8, 8 + length)];
      if ((left.readUInt8(0) & 0x80) === 0) {
        const input = streams.get(left.readUInt32BE(0));
        input?.write(body);
        if (flags & FIN) input?.end();
      } else {
        const type = left.readUInt16BE(2);
        if (type === SYN_STREAM) await opens(flags, body);
        else if (type === PING) frame(PING, 0, body);
        else if (type === RST_STREAM) streams.get(body.readUInt32BE(0))?.end();
        else if (type === GOAWAY) return;
      }
      left = left.subarray(8 + length);
    }
  }
}
