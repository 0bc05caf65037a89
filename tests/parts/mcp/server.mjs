// A server of the Model Context Protocol in the mesh, by the official SDK: it knows nothing of OAuth, accepts nothing but mTLS, and its one tool says what it was
// told of the caller. Says its port on a line of its own.
import { createServer } from 'node:https'
import { readFileSync } from 'node:fs'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'

const [chain, key, bundle] = process.argv.slice(2).map((path) => readFileSync(path))

function server() {
  const server = new McpServer({ name: 'mesh', version: '1.0.0' })
  server.registerTool('whoami', { description: 'Says who calls.' }, ({ requestInfo }) => {
    const { headers } = requestInfo
    const assertion = headers['wayleave-jwt-assertion']
    const claims = JSON.parse(Buffer.from(assertion.split('.')[1], 'base64url'))
    const said = { claims, agent: headers['wayleave-agent'] ?? null, authorization: headers.authorization ?? null }
    return { content: [{ type: 'text', text: JSON.stringify(said) }] }
  })
  return server
}

const tls = { cert: chain, key, ca: bundle, requestCert: true, rejectUnauthorized: true, ALPNProtocols: ['http/1.1'] }
const listener = createServer(tls, async (request, response) => {
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  const text = Buffer.concat(chunks).toString()
  const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined })
  response.on('close', () => transport.close())
  await server().connect(transport)
  await transport.handleRequest(request, response, text ? JSON.parse(text) : undefined)
})
listener.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: listener.address().port })))
