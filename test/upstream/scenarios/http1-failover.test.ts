/** The scenarios of failover.ts over REST, HTTP/1.1. */
// First: the resolver is replaced before anything has taken hold of it.
import { hangingName } from "./dns.ts";
import { failover } from "./failover.ts";
import { http1 } from "./rest.ts";

failover(http1, hangingName);
