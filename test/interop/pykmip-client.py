"""PyKMIP's own client, driven by one JSON object a line: {"do": "create", ...}; answers each with one.

Arguments: host, port, certificate, key, CA, an (empty) configuration file, protocol version ("1.4").
Bytes are hexadecimal. A refusal is answered with {"refused": Result Reason}.
"""

import json
import sys

from kmip.core import enums
from kmip.core.attributes import CryptographicParameters
from kmip.core.exceptions import OperationFailure
from kmip.core.messages import payloads
from kmip.pie.client import ProxyKmipClient
from kmip.pie.exceptions import KmipOperationFailure

GCM = CryptographicParameters(
    block_cipher_mode=enums.BlockCipherMode.GCM,
    cryptographic_algorithm=enums.CryptographicAlgorithm.AES,
    tag_length=16,
)


def to_bytes(text):
    return None if text is None else bytes.fromhex(text)


def to_hex(data):
    return None if data is None else data.hex()


def create(client, name):
    mask = [enums.CryptographicUsageMask.ENCRYPT, enums.CryptographicUsageMask.DECRYPT]
    uid = client.create(enums.CryptographicAlgorithm.AES, 256, name=name, cryptographic_usage_mask=mask)
    client.activate(uid)
    return {"id": uid}


def attributes(client, id):
    _, found = client.get_attributes(id)
    return {"names": [each.attribute_name.value for each in found]}


def locate(client, name):
    value = client.attribute_factory.create_attribute(enums.AttributeType.NAME, name)
    return {"ids": client.locate(attributes=[value])}


def encrypt(client, id, data, iv):
    payload = payloads.EncryptRequestPayload(id, GCM, to_bytes(data), to_bytes(iv))
    reply = client.proxy.send_request_payload(enums.Operation.ENCRYPT, payload)
    return {"data": to_hex(reply.data), "tag": to_hex(reply.auth_tag)}


def decrypt(client, id, data, iv, tag=None):
    payload = payloads.DecryptRequestPayload(id, GCM, to_bytes(data), to_bytes(iv), auth_tag=to_bytes(tag))
    reply = client.proxy.send_request_payload(enums.Operation.DECRYPT, payload)
    return {"data": to_hex(reply.data)}


def revoke(client, id):
    client.revoke(enums.RevocationReasonCode.CESSATION_OF_OPERATION, id)
    return {}


def destroy(client, id):
    client.destroy(id)
    return {}


ACTIONS = {each.__name__: each for each in (create, attributes, locate, encrypt, decrypt, revoke, destroy)}


def main():
    host, port, cert, key, ca, config, version = sys.argv[1:]
    client = ProxyKmipClient(
        hostname=host,
        port=int(port),
        cert=cert,
        key=key,
        ca=ca,
        ssl_version="PROTOCOL_TLSv1_2",
        config_file=config,
        kmip_version=enums.KMIPVersion["KMIP_" + version.replace(".", "_")],
    )
    with client:
        for line in sys.stdin:
            request = json.loads(line)
            action = ACTIONS[request.pop("do")]
            try:
                reply = action(client, **request)
            except (KmipOperationFailure, OperationFailure) as failure:
                reply = {"refused": failure.reason.name}
            print(json.dumps(reply), flush=True)


main()
