"""
Makes the vectors beside it: requests as PyKMIP 0.11's own encoder writes them, responses as PyKMIP's server engine gives
them to those requests. Run by hand (python capture.py, in an environment that has PyKMIP; then npm run format); nobody needs it to test.
The key is made in the engine, never leaves it, and is gone with the process; the data it encrypts are zeros.
"""

import json
import logging
import pathlib
import time

from kmip.core import enums, objects, policy, utils
from kmip.core.attributes import CryptographicParameters
from kmip.core.factories.attributes import AttributeFactory
from kmip.core.messages import contents, messages, payloads
from kmip.core.primitives import DateTime
from kmip.services.server.engine import KmipEngine

logging.disable(logging.CRITICAL)
folder = pathlib.Path(__file__).parent
factory = AttributeFactory()
vectors = {}
VERSIONS = [(1, minor) for minor in range(5)]
DATA = bytes(32)


def attribute(name, value, index=None):
    return factory.create_attribute(enums.AttributeType(name), value, index)


def stream_bytes(message, version):
    stream = utils.BytearrayStream()
    message.write(stream, version)
    return stream.buffer


def plain(value):
    """What a test compares: bytes as hex, 64-bit numbers as text."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items() if one is not None}
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, enums.enum.Enum):
        return value.value
    return value


class Session:
    def __init__(self, major, minor):
        self.version = contents.ProtocolVersion(major, minor)
        self.kmip_version = contents.protocol_version_to_kmip_version(self.version)
        self.text = f"{major}.{minor}"
        self.engine = KmipEngine(policies=policy.policies, database_path=":memory:")

    def send(self, calls, ids=None, **header):
        items = [
            messages.RequestBatchItem(
                operation=contents.Operation(operation),
                unique_batch_item_id=ids and contents.UniqueBatchItemID(ids[index]),
                request_payload=payload,
            )
            for index, (operation, payload) in enumerate(calls)
        ]
        request = messages.RequestMessage(
            request_header=messages.RequestHeader(
                protocol_version=self.version, batch_count=contents.BatchCount(len(items)), **header
            ),
            batch_items=items,
        )
        sent = stream_bytes(request, self.kmip_version)
        again = messages.RequestMessage()
        again.read(utils.BytearrayStream(sent), self.kmip_version)
        try:
            response, _, version = self.engine.process_request(again, ("someone", None))
        except Exception as error:
            response = self.engine.build_error_response(self.version, error.reason, str(error))
        return sent, stream_bytes(response, self.kmip_version)

    def call(self, operation, payload, asked, answered, says=""):
        """One operation; `answered` turns PyKMIP's payload into what a decoder should give."""
        sent, got = self.send([(operation, payload)])
        response = messages.ResponseMessage()
        response.read(utils.BytearrayStream(got), self.kmip_version)
        item = response.batch_items[0]
        name = operation.name.lower().replace("_", "-")
        entries = vectors.setdefault(name, [])
        common = {"version": self.text, "says": says} if says else {"version": self.text}
        entries.append({**common, "kind": "request", "payload": plain(asked), "hex": sent.hex()})
        if item.result_status.value == enums.ResultStatus.SUCCESS:
            reply = {"payload": plain(answered(item.response_payload))}
        else:
            reply = {"failure": {"reason": item.result_reason.value.value, "message": item.result_message.value}}
        entries.append({**common, "kind": "response", **reply, "hex": got.hex()})
        return item.response_payload


def value_of(one):
    value = one.attribute_value
    if isinstance(value, objects.attributes.Name):
        return {"value": value.name_value.value, "type": value.name_type.value.value}
    if isinstance(value, DateTime):
        return {"seconds": str(value.value)}
    if isinstance(value, CryptographicParameters):
        return {
            "blockCipherMode": value.block_cipher_mode,
            "cryptographicAlgorithm": value.cryptographic_algorithm,
        }
    if isinstance(value, objects.attributes.Digest):
        return {
            "hashingAlgorithm": value.hashing_algorithm.value,
            "digestValue": value.digest_value.value,
            "keyFormatType": value.key_format_type.value,
        }
    return value.value


def told(one):
    return {
        "name": one.attribute_name.value,
        "index": None if one.attribute_index is None else one.attribute_index.value,
        "value": value_of(one),
    }


def identifier(payload):
    uid = payload.unique_identifier
    return {"uniqueIdentifier": uid if isinstance(uid, str) else uid.value}


def names(minor):
    name = {"name": "Name", "value": {"value": f"key of 1.{minor}", "type": 1}}
    return name, attribute(
        "Name",
        objects.attributes.Name.create(f"key of 1.{minor}", enums.NameType.UNINTERPRETED_TEXT_STRING),
    )


def scenario(major, minor):
    session = Session(major, minor)
    op = enums.Operation
    name, name_attribute = names(minor)

    session.call(
        op.DISCOVER_VERSIONS,
        payloads.DiscoverVersionsRequestPayload([contents.ProtocolVersion(1, 4), contents.ProtocolVersion(1, 2)]),
        {"protocolVersions": [{"major": 1, "minor": 4}, {"major": 1, "minor": 2}]},
        lambda got: {"protocolVersions": [{"major": v.major, "minor": v.minor} for v in got.protocol_versions]},
    )
    functions = [enums.QueryFunction.QUERY_OPERATIONS, enums.QueryFunction.QUERY_OBJECTS]
    functions.append(enums.QueryFunction.QUERY_SERVER_INFORMATION)
    session.call(
        op.QUERY,
        payloads.QueryRequestPayload(functions),
        {"queryFunctions": functions},
        lambda got: {
            "operations": got.operations,
            "objectTypes": got.object_types or [],
            "vendorIdentification": got.vendor_identification,
            "applicationNamespaces": [],
            "extensionInformation": [],
            "attestationTypes": [],
            "rngParameters": [],
            "profileInformation": [],
            "validationInformation": [],
            "capabilityInformation": [],
            "clientRegistrationMethods": [],
        },
    )

    mask = [enums.CryptographicUsageMask.ENCRYPT, enums.CryptographicUsageMask.DECRYPT]
    uid = session.call(
        op.CREATE,
        payloads.CreateRequestPayload(
            enums.ObjectType.SYMMETRIC_KEY,
            objects.TemplateAttribute(
                attributes=[
                    attribute("Cryptographic Algorithm", enums.CryptographicAlgorithm.AES),
                    attribute("Cryptographic Length", 256),
                    attribute("Cryptographic Usage Mask", mask),
                    name_attribute,
                ]
            ),
        ),
        {
            "objectType": 2,
            "templateAttribute": {
                "names": [],
                "attributes": [
                    {"name": "Cryptographic Algorithm", "value": 3},
                    {"name": "Cryptographic Length", "value": 256},
                    {"name": "Cryptographic Usage Mask", "value": 12},
                    name,
                ],
            },
        },
        lambda got: {"objectType": got.object_type, **identifier(got)},
    ).unique_identifier

    session.call(
        op.ACTIVATE,
        payloads.ActivateRequestPayload(objects.attributes.UniqueIdentifier(uid)),
        {"uniqueIdentifier": uid},
        identifier,
    )
    session.call(
        op.LOCATE,
        payloads.LocateRequestPayload(
            maximum_items=2,
            offset_items=0 if minor >= 3 else None,
            storage_status_mask=1,
            attributes=[name_attribute, attribute("Object Type", enums.ObjectType.SYMMETRIC_KEY)],
        ),
        {
            "maximumItems": 2,
            "offsetItems": 0 if minor >= 3 else None,
            "storageStatusMask": 1,
            "attributes": [name, {"name": "Object Type", "value": 2}],
        },
        lambda got: {"locatedItems": got.located_items, "uniqueIdentifiers": got.unique_identifiers},
    )
    wanted = ["Name", "Object Type", "Cryptographic Algorithm", "Cryptographic Length"]
    wanted += ["Cryptographic Usage Mask", "State", "Initial Date", "Unique Identifier", "Operation Policy Name"]
    session.call(
        op.GET_ATTRIBUTES,
        payloads.GetAttributesRequestPayload(uid, wanted),
        {"uniqueIdentifier": uid, "attributeNames": wanted},
        lambda got: {**identifier(got), "attributes": [told(one) for one in got.attributes]},
    )
    renamed = objects.attributes.Name.create("renamed", enums.NameType.UNINTERPRETED_TEXT_STRING)
    session.call(
        op.MODIFY_ATTRIBUTE,
        payloads.ModifyAttributeRequestPayload(uid, attribute("Name", renamed, 0)),
        {"uniqueIdentifier": uid, "attribute": {"name": "Name", "index": 0, "value": {"value": "renamed", "type": 1}}},
        lambda got: {**identifier(got), "attribute": told(got.attribute)},
    )
    session.call(
        op.DELETE_ATTRIBUTE,
        payloads.DeleteAttributeRequestPayload(uid, "Name", 0),
        {"uniqueIdentifier": uid, "attributeName": "Name", "attributeIndex": 0},
        lambda got: {**identifier(got), "attribute": told(got.attribute)},
    )
    if minor >= 2:
        encryption(session, uid, minor)
    session.call(
        op.REVOKE,
        payloads.RevokeRequestPayload(
            objects.attributes.UniqueIdentifier(uid),
            objects.RevocationReason(enums.RevocationReasonCode.KEY_COMPROMISE, "a test"),
            DateTime(value=1, tag=enums.Tags.COMPROMISE_OCCURRENCE_DATE),
        ),
        {
            "uniqueIdentifier": uid,
            "revocationReason": {"code": 2, "message": "a test"},
            "compromiseOccurrenceDate": {"seconds": "1"},
        },
        identifier,
    )
    session.call(
        op.DESTROY,
        payloads.DestroyRequestPayload(objects.attributes.UniqueIdentifier(uid)),
        {"uniqueIdentifier": uid},
        identifier,
    )
    session.call(
        op.GET_ATTRIBUTES,
        payloads.GetAttributesRequestPayload("none of its", []),
        {"uniqueIdentifier": "none of its", "attributeNames": []},
        identifier,
        says="of an object that is not there",
    )
    envelopes(session, minor)


def encryption(session, uid, minor):
    """AES-GCM from 1.4 on. PyKMIP loses the tag before it, so there it is AES-CBC."""
    gcm = minor >= 4
    iv = bytes(12 if gcm else 16)
    more = b"more" if gcm else None
    if gcm:
        asked = {"blockCipherMode": 9, "cryptographicAlgorithm": 3, "ivLength": 12, "tagLength": 16}
        parameters = CryptographicParameters(
            block_cipher_mode=enums.BlockCipherMode.GCM,
            cryptographic_algorithm=enums.CryptographicAlgorithm.AES,
            iv_length=12,
            tag_length=16,
        )
    else:
        asked = {"blockCipherMode": 1, "paddingMethod": 3, "cryptographicAlgorithm": 3, "randomIV": False}
        parameters = CryptographicParameters(
            block_cipher_mode=enums.BlockCipherMode.CBC,
            padding_method=enums.PaddingMethod.PKCS5,
            cryptographic_algorithm=enums.CryptographicAlgorithm.AES,
            random_iv=False,
        )
    common = {
        "uniqueIdentifier": uid,
        "cryptographicParameters": asked,
        "ivCounterNonce": iv,
        "authenticatedEncryptionAdditionalData": more,
    }
    got = session.call(
        enums.Operation.ENCRYPT,
        payloads.EncryptRequestPayload(uid, parameters, DATA, iv, auth_additional_data=more),
        {**common, "data": DATA},
        lambda got: {
            **identifier(got),
            "data": got.data,
            "ivCounterNonce": got.iv_counter_nonce,
            "authenticatedEncryptionTag": got.auth_tag,
        },
    )
    data, tag = got.data, got.auth_tag
    session.call(
        enums.Operation.DECRYPT,
        payloads.DecryptRequestPayload(uid, parameters, data, iv, auth_additional_data=more, auth_tag=tag),
        {**common, "data": data, "authenticatedEncryptionTag": tag},
        lambda got: {**identifier(got), "data": got.data},
    )


def envelopes(session, minor):
    """Messages for what is around the payloads: a batch, one that fails on the way, a full header, a refusal."""
    entries = vectors.setdefault("messages", [])

    def add(says, sent, got):
        entries.append({"version": session.text, "says": says, "request": sent.hex(), "response": got.hex()})

    query = (enums.Operation.QUERY, payloads.QueryRequestPayload([enums.QueryFunction.QUERY_OBJECTS]))
    unknown = (enums.Operation.GET_ATTRIBUTES, payloads.GetAttributesRequestPayload("none of its", []))
    add("two that succeed", *session.send([query, query], ids=[b"\0", b"\1"]))
    add("the first fails, and the second is not tried", *session.send([unknown, query], ids=[b"\0", b"\1"]))
    add(
        "the first fails, and the second is tried all the same",
        *session.send(
            [unknown, query],
            ids=[b"\0", b"\1"],
            batch_error_cont_option=contents.BatchErrorContinuationOption(
                enums.BatchErrorContinuationOption.CONTINUE
            ),
            batch_order_option=contents.BatchOrderOption(True),
            maximum_response_size=contents.MaximumResponseSize(65536),
            time_stamp=contents.TimeStamp(int(time.time())),
        ),
    )
    add("refused as a whole", *session.send([query, query]))


for version in VERSIONS:
    scenario(*version)
for name, entries in vectors.items():
    lines = ",\n".join("  " + json.dumps(entry) for entry in entries)
    (folder / f"{name}.json").write_text(f"[\n{lines}\n]\n")
    print(name, len(entries))
