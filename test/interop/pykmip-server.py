"""PyKMIP's own server, on a port that the kernel chooses, and limited to some protocol versions.

Arguments: its configuration file, a log file, the versions ("1.2,1.4"). Prints the port as one line of JSON.
Ends, with the processes that it starts, when its standard input does.
"""

import json
import os
import signal
import sys
import threading

from kmip.core.messages.contents import ProtocolVersion
from kmip.services.server import KmipServer


def end_with_parent():
    # Not sys.stdin: its lock would be held in the helpers that are forked off, which close it.
    while os.read(0, 4096):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


def limit_versions(engine, texts):
    own = [ProtocolVersion(*(int(part) for part in text.split("."))) for text in texts]
    engine._protocol_versions = [each for each in engine._protocol_versions if each in own]
    # The version in which it answers what it cannot read.
    engine.default_protocol_version = min(engine.default_protocol_version, max(own))


config_path, log_path, versions = sys.argv[1:]
threading.Thread(target=end_with_parent, daemon=True).start()
server = KmipServer(config_path=config_path, log_path=log_path)
# The configuration file takes no 0.
server.config.settings["port"] = 0
server.start()
limit_versions(server._engine, versions.split(","))
print(json.dumps({"port": server._socket.getsockname()[1]}), flush=True)
server.serve()
