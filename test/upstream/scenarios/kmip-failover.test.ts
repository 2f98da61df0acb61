/** The scenarios of failover.ts over KMIP. */
// First: the resolver is replaced before anything has taken hold of it.
import { hangingName } from "./dns.ts";
import { failover } from "./failover.ts";
import { kmip } from "./kmip.ts";

failover(kmip, hangingName);
