/** The scenarios of connections.ts over REST, HTTP/1.1. */
import { connections } from "./connections.ts";
import { http1 } from "./rest.ts";

connections(http1);
