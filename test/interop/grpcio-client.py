"""grpcio, a gRPC client on C++, driven by one JSON object a line: {"do": "call", ...}; answers each with one.

Argument: the socket. Bytes are hexadecimal. A call is answered with {"code": "OK", "reply": ...} or {"code", "details"}.
"""

import json
import sys
import threading

import grpc

KEEPALIVE = [
    ("grpc.keepalive_time_ms", 1000),
    ("grpc.keepalive_timeout_ms", 1000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
]
COMPRESSIONS = {"gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate, None: None}


class Client:
    def __init__(self, path):
        self.states = []
        self.channel = grpc.insecure_channel("unix:" + path, options=KEEPALIVE)
        self.channel.subscribe(lambda state: self.states.append(state.name), try_to_connect=True)
        self.steady = None

    def call(self, method, request="", timeout=5, compression=None):
        try:
            reply = self.channel.unary_unary("/v2.KeyManagementService/" + method)(
                bytes.fromhex(request),
                timeout=timeout,
                wait_for_ready=True,
                compression=COMPRESSIONS[compression],
            )
        except grpc.RpcError as error:
            return {"code": error.code().name, "details": error.details()}
        return {"code": "OK", "reply": reply.hex()}

    def begin(self, method, request):
        """Makes one call after the other until `end`."""
        ended = threading.Event()
        outcomes = []

        def work():
            while not ended.is_set():
                outcomes.append(self.call(method, request))

        worker = threading.Thread(target=work)
        worker.start()
        self.steady = (worker, ended, outcomes)
        return {}

    def end(self):
        worker, ended, outcomes = self.steady
        ended.set()
        worker.join()
        return {"calls": len(outcomes), "failures": [each for each in outcomes if each["code"] != "OK"]}

    def seen(self):
        """The states that the channel has had since the last time."""
        states, self.states = self.states, []
        return {"states": states}


def main():
    client = Client(sys.argv[1])
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(getattr(client, request.pop("do"))(**request)), flush=True)


main()
