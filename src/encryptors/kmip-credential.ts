/**
 * The Credential that some KMIP servers want beside the client certificate: a user name and a password in the header of
 * each request (KMIP 1.4 sections 2.1.2 and 6.6). Device and Attestation credentials are left out.
 */
import { CredentialType, type Item, ItemType, type RequestOptions, Tag } from "../kmip/index.ts";

/** The user name and password of this client. Read again for each message: the password may change with its file. */
export interface KmipCredential {
  readonly username: string;
  /** Never printed: dumps of messages show its length only. */
  readonly password: string;
}

/** The header fields that carry a credential; none where there is none. */
export function credentialHeader(credential: KmipCredential | undefined): RequestOptions {
  if (credential === undefined) return {};
  const { username, password } = credential;
  const value: Item[] = [
    { tag: Tag.Username, type: ItemType.TextString, value: username },
    { tag: Tag.Password, type: ItemType.TextString, value: password },
  ];
  const content: Item[] = [
    { tag: Tag.CredentialType, type: ItemType.Enumeration, value: CredentialType.UsernameAndPassword },
    { tag: Tag.CredentialValue, type: ItemType.Structure, value },
  ];
  return { authentication: [{ tag: Tag.Credential, type: ItemType.Structure, value: content }] };
}
