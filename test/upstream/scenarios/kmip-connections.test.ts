/** The scenarios of connections.ts over KMIP. */
import { connections } from "./connections.ts";
import { kmip } from "./kmip.ts";

connections(kmip);
