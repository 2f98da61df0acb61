/** A KMIP server, as net/address.ts parses it; this file goes when the connection engine takes it from there. */
export {
  kmipPort,
  parseKmipAddress as parseEndpoint,
  type ServerAddress as Endpoint,
} from "../net/address.ts";
