/** The scenarios of failover.ts over REST, HTTP/1.1. */
import "./dns.ts";
import { failover } from "./failover.ts";
import { http1 } from "./rest.ts";

failover(http1);
