/** The scenarios of connections.ts over REST, HTTP/2. */
import "./dns.ts";
import { connections } from "./connections.ts";
import { http2 } from "./rest.ts";

connections(http2);
