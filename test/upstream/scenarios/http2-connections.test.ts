/** The scenarios of connections.ts over REST, HTTP/2. */
import { connections } from "./connections.ts";
import { http2 } from "./rest.ts";

connections(http2);
