import assert from "node:assert/strict";
import { test } from "node:test";
import { KeyManagementService } from "../../../gen/kms/v2/api_pb.ts";
import { methods } from "../../../src/server/rpc/methods.ts";
import { services } from "../../../src/server/rpc/other-services.ts";

test("the table of methods is what the schema says of every service", () => {
  const ofSchema = services.flatMap((service) =>
    service.methods.map((method) => [
      `/${service.typeName}/${method.name}`,
      {
        name: method.name,
        isStream: method.methodKind !== "unary",
        isKms: service.typeName === KeyManagementService.typeName,
      },
    ]),
  );
  assert.deepEqual(Object.fromEntries(methods), Object.fromEntries(ofSchema));
});
