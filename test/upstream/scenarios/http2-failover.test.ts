/** The scenarios of failover.ts over REST, HTTP/2. */
// First: the resolver is replaced before anything has taken hold of it.
import { hangingName } from "./dns.ts";
import { failover } from "./failover.ts";
import { http2 } from "./rest.ts";

failover(http2, hangingName);
