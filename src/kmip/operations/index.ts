/**
 * Every supported operation. Get is not among them and never will be: nothing in this program may ask a KMS for
 * key material.
 */
import { activateOperation } from "./activate.ts";
import { addAttributeOperation } from "./add-attribute.ts";
import { createOperation } from "./create.ts";
import { decryptOperation } from "./decrypt.ts";
import { deleteAttributeOperation } from "./delete-attribute.ts";
import { destroyOperation } from "./destroy.ts";
import { discoverVersionsOperation } from "./discover-versions.ts";
import { encryptOperation } from "./encrypt.ts";
import { getAttributesOperation } from "./get-attributes.ts";
import { locateOperation } from "./locate.ts";
import { modifyAttributeOperation } from "./modify-attribute.ts";
import type { OperationDefinition } from "./operation.ts";
import { queryOperation } from "./query.ts";
import { revokeOperation } from "./revoke.ts";

export {
  activateOperation,
  addAttributeOperation,
  createOperation,
  decryptOperation,
  deleteAttributeOperation,
  destroyOperation,
  discoverVersionsOperation,
  encryptOperation,
  getAttributesOperation,
  locateOperation,
  modifyAttributeOperation,
  queryOperation,
  revokeOperation,
};
export type { DecryptRequest, DecryptResponse } from "./decrypt.ts";
export type { EncryptRequest, EncryptResponse } from "./encrypt.ts";
export type { OperationDefinition } from "./operation.ts";

/** All of them, in the order of the specification. */
export const operations: readonly OperationDefinition[] = [
  createOperation,
  locateOperation,
  getAttributesOperation,
  addAttributeOperation,
  modifyAttributeOperation,
  deleteAttributeOperation,
  activateOperation,
  revokeOperation,
  destroyOperation,
  queryOperation,
  discoverVersionsOperation,
  encryptOperation,
  decryptOperation,
];
