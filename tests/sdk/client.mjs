// Calls tools of two vMCP replicas with the official SDK.
//
// client.mjs MODE URL URL TOKEN     MODE: legacy (initialize) or a protocol version
//
// Each line of the standard input is one call, as JSON: [replica, tool, arguments]. It is answered by
// one line of JSON: what the SDK returned, or what it threw. The SDK is found by NODE_PATH.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(import.meta.url);
const { Client, ProtocolError, StreamableHTTPClientTransport } = require("@modelcontextprotocol/client");

const [mode, ...urls] = process.argv.slice(2);
const token = urls.pop();
const versionNegotiation = { mode: mode === "legacy" ? "legacy" : { pin: mode } };

const clients = [];
for (const url of urls) {
  const client = new Client({ name: "test", version: "1" }, { versionNegotiation });
  const requestInit = { headers: { Authorization: `Bearer ${token}` } };
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
  clients.push(client);
}

for await (const line of createInterface({ input: process.stdin })) {
  const [replica, name, args] = JSON.parse(line);
  let outcome;
  try {
    const result = await clients[replica].callTool({ name, arguments: args });
    outcome = { isError: Boolean(result.isError) };
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    const { code, message, data } = error;
    outcome = { code, message, data };
  }
  console.log(JSON.stringify(outcome));
}
process.exit(0);
