"""Calls tools of two vMCP replicas with the official SDK.

client.py MODE URL URL TOKEN     MODE: legacy (initialize) or a protocol version

Each line of the standard input is one call, as JSON: [replica, tool, arguments]. It is answered by
one line of JSON: what the SDK returned, or what it raised.
"""

import asyncio
import json
import sys
from contextlib import AsyncExitStack

import httpx2 as http
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client


async def main(mode, *urls_and_token):
    *urls, token = urls_and_token
    async with AsyncExitStack() as stack:
        headers = {"Authorization": f"Bearer {token}"}
        connection = await stack.enter_async_context(http.AsyncClient(headers=headers))
        clients = []
        for url in urls:
            transport = streamable_http_client(url, http_client=connection)
            clients.append(await stack.enter_async_context(Client(transport, mode=mode)))
        while line := await asyncio.to_thread(sys.stdin.readline):
            replica, tool, arguments = json.loads(line)
            try:
                result = await clients[replica].call_tool(tool, arguments)
                outcome = {"isError": bool(result.is_error)}
            except MCPError as raised:
                error = raised.error
                outcome = {"code": error.code, "message": error.message, "data": error.data}
            print(json.dumps(outcome), flush=True)


asyncio.run(main(*sys.argv[1:]))
