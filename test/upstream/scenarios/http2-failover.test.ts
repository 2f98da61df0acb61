/** The scenarios of failover.ts over REST, HTTP/2. */
import "./dns.ts";
import { failover } from "./failover.ts";
import { http2 } from "./rest.ts";

failover(http2);
