/**
 * The calls that are open, from their headers until their last byte is written, and how many there may be: each takes
 * memory. Who holds places by calls that wait for nobody but their own client, for the rest of a request or to be
 * read, is closed when places are short: else a client or two could keep everybody else out.
 */
import type { DescMethod } from "@bufbuild/protobuf";
import type { Http2Session } from "node:http2";
import { KeyManagementService } from "../../../gen/kms/v2/api_pb.ts";

/** How {@link OpenCalls} are made. */
export interface OpenCallsOptions {
  /** Most of them but Status, which has {@link statusPlaces} more. */
  readonly most: number;
  /** A session was closed for the calls that it left waiting. */
  readonly onSessionClosed: () => void;
}

/** One of them. */
export interface OpenCall {
  /** From here on it waits for its client, or does not. It does at first. */
  waitsForClient(does: boolean): void;
  /** To be called once. */
  end(): void;
}

/** See above. */
export interface OpenCalls {
  /** Takes a place; undefined where there is none. */
  begin(method: DescMethod, session: Http2Session | undefined): OpenCall | undefined;
  /** In words, for the log. */
  describe(): string;
}

/** Most calls that live as long as their caller wants: Health's Watch, and reflection. */
const mostStreams = 64;
/** Status keeps places that nothing else takes: a flood of other calls must not look like a key that is gone. */
const statusPlaces = 256;
/** So many calls of a session may wait for it, however short places are. */
const fairShare = 16;

/** The calls of one session. */
interface Share {
  open: number;
  waiting: number;
  /** Its calls end as soon as their streams have noticed: their places are free already. */
  isClosed: boolean;
}

/** Makes a record without any. */
export function createOpenCalls({ most, onSessionClosed }: OpenCallsOptions): OpenCalls {
  const shares = new Map<Http2Session | undefined, Share>();
  let open = 0;
  let streams = 0;

  function hasRoom(method: DescMethod): boolean {
    if (method.methodKind !== "unary" && streams >= mostStreams) return false;
    const isStatus = method.parent === KeyManagementService && method.name === "Status";
    const places = isStatus ? most + statusPlaces : most;
    return open < places || (closeWorst() && open < places);
  }

  /** Closes the session that leaves most calls waiting. @returns whether there is one */
  function closeWorst(): boolean {
    let worst: [Http2Session, Share] | undefined;
    for (const [session, share] of shares) {
      const least = worst?.[1].waiting ?? fairShare;
      if (session !== undefined && !share.isClosed && share.waiting > least) worst = [session, share];
    }
    if (worst === undefined) return false;
    const [session, share] = worst;
    share.isClosed = true;
    open -= share.open;
    session.destroy();
    onSessionClosed();
    return true;
  }

  return {
    begin(method, session) {
      if (!hasRoom(method)) return undefined;
      const isStream = method.methodKind !== "unary";
      const share = shares.get(session) ?? { open: 0, waiting: 0, isClosed: false };
      shares.set(session, share);
      let isWaiting = true;
      let hasEnded = false;
      const waitsForClient = (does: boolean): void => {
        if (hasEnded || does === isWaiting) return;
        share.waiting += does ? 1 : -1;
        isWaiting = does;
      };
      open += 1;
      share.open += 1;
      share.waiting += 1;
      if (isStream) streams += 1;
      return {
        waitsForClient,
        end() {
          waitsForClient(false);
          hasEnded = true;
          if (!share.isClosed) open -= 1;
          share.open -= 1;
          if (isStream) streams -= 1;
          if (share.open === 0) shares.delete(session);
        },
      };
    },
    describe: () => `${open} calls are open, ${streams} of them streams`,
  };
}
