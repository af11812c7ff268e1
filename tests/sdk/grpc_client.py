"""Calls a limiter with grpcio, over one channel, and prints how often each code came.

Usage: grpc_client.py COUNT TARGET. Messages are bytes here: no generated code is needed.
"""

import collections
import json
import sys

import grpc

REQUEST = b"\x0a\x0btest/server"
ALLOWED = b"\x08\x01"

count, target = int(sys.argv[1]), sys.argv[2]
codes = collections.Counter()
with grpc.insecure_channel(target) as channel:
    check = channel.unary_unary("/toolgate.v1.LimiterService/Check")
    for _ in range(count // 100):
        for call in [check.future(REQUEST, timeout=60) for _ in range(100)]:
            code = call.code()
            is_wrong = code == grpc.StatusCode.OK and not call.result().startswith(ALLOWED)
            codes["not allowed" if is_wrong else code.name] += 1
print(json.dumps(codes))
