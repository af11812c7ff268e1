"""Calls a tool of a vMCP again and again with the official SDK; one JSON line for each outcome.

call.py MODE URL TOOL ARGUMENTS COUNT [TOKEN]     MODE: legacy (initialize), auto, or 2026-07-28
"""

import asyncio
import json
import sys

import httpx2 as http
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client


async def main(mode, url, tool, arguments, count, token=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with http.AsyncClient(headers=headers) as connection:
        transport = streamable_http_client(url, http_client=connection)
        async with Client(transport, mode=mode) as client:
            for _ in range(int(count)):
                try:
                    result = await client.call_tool(tool, json.loads(arguments))
                    print(json.dumps({"isError": bool(result.is_error)}))
                except MCPError as error:
                    found = error.error
                    print(json.dumps({"code": found.code, "message": found.message, "data": found.data}))


asyncio.run(main(*sys.argv[1:]))
