// A client of the Model Context Protocol, by the official SDK, which knows the server's address and nothing else. It says where its person has to go, is told the
// code that they came back with, and says what the server's tool said; each on a line of JSON.
import dns from 'node:dns'
import { createInterface } from 'node:readline'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { UnauthorizedError } from '@modelcontextprotocol/sdk/client/auth.js'

// Every *.localhost is this machine (RFC 6761 §6.3), whatever the system's resolver thinks.
const lookup = dns.lookup
dns.lookup = (host, options, done) => lookup(host.endsWith('.localhost') ? '127.0.0.1' : host, options, done)

const [url] = process.argv.slice(2)
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const say = (said) => console.log(JSON.stringify(said))

const kept = {}
const provider = {
  redirectUrl: 'http://localhost:7/callback',
  clientMetadata: {
    client_name: 'A client of the tests',
    redirect_uris: ['http://localhost:7/callback'],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
  },
  state: () => 'a state',
  clientInformation: () => kept.client,
  saveClientInformation: (client) => { kept.client = client },
  tokens: () => kept.tokens,
  saveTokens: (tokens) => { kept.tokens = tokens },
  redirectToAuthorization: (to) => say({ authorize: to.toString() }),
  saveCodeVerifier: (verifier) => { kept.verifier = verifier },
  codeVerifier: () => kept.verifier,
}

const transport = () => new StreamableHTTPClientTransport(new URL(url), { authProvider: provider })
const client = () => new Client({ name: 'tests', version: '1.0.0' })

const first = transport()
try {
  await client().connect(first)
  throw new Error('nobody asked for a token')
} catch (error) {
  if (!(error instanceof UnauthorizedError)) throw error
}
await first.finishAuth((await lines.next()).value)

for (;;) {
  try {
    const connected = client()
    await connected.connect(transport())
    const result = await connected.callTool({ name: 'whoami' })
    say({ said: JSON.parse(result.content[0].text), client: kept.client, tokens: kept.tokens })
    await connected.close()
  } catch (error) {
    say({ failed: String(error), code: error.code ?? null, client: kept.client, tokens: kept.tokens })
  }
  // Whatever comes on a line has it ask once more; `refresh` has it get another token before.
  const line = await lines.next()
  if (line.done) break
  if (line.value === 'refresh') kept.tokens = { ...kept.tokens, access_token: 'used-up' }
}
process.exit(0)
