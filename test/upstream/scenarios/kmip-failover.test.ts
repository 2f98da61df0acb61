/** The scenarios of failover.ts over KMIP. */
import "./dns.ts";
import { failover } from "./failover.ts";
import { kmip } from "./kmip.ts";

failover(kmip);
