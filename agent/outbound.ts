/**
 * Sends one output stream to the server, from the spool, in order of offset.
 *
 * Invariants:
 *  O1. At most OUTPUT_WINDOW_BYTES are sent and not acked.
 *  O2. The server's word on the offset is final (protocol invariant C): an ack that makes no progress while bytes are
 *      in flight means that a chunk was refused, and sending goes on from there. Each refused chunk in flight brings
 *      such an ack; only the first of them rewinds (until RESEND_STALL_MS later), or every window would be sent often.
 */
import { OUTPUT_CHUNK_BYTES, OUTPUT_WINDOW_BYTES, type StreamName } from '../contracts/agent-protocol.ts';
import type { Link } from './link.ts';
import type { Spool } from './spool.ts';

/** Without progress for this long, unacked bytes and results are sent again, milliseconds. */
export const RESEND_STALL_MS = 10_000;

export interface OutboundStream {
  readonly spool: Spool;
  /** Send what the window and the socket allow. */
  pump(): void;
  /** The server expects this offset next. */
  ack(nextOffset: number): void;
  /** After a reconnect: begin at the offset the server names, or at the last one acked. */
  restart(nextOffset: number | null): void;
  /** True when the server has every byte kept so far. */
  isDelivered(): boolean;
  /** Send again from the last ack when nothing moved for RESEND_STALL_MS. */
  resendWhenStalled(now: number): void;
}

/** Sender of one stream of one command. */
export function createOutboundStream(deps: {
  spool: Spool;
  link: Link;
  commandId: string;
  stream: StreamName;
  now?: () => number;
}): OutboundStream {
  const { spool, link, commandId, stream } = deps;
  const now = deps.now ?? (() => performance.now());
  let acked = 0;
  let sent = 0;
  let rewoundTo = -1;
  let movedAt = now();

  const pump = (): void => {
    while (sent < spool.size() && link.hasRoom()) {
      const room = acked + OUTPUT_WINDOW_BYTES - sent;
      if (room <= 0) return;
      const bytes = spool.read(sent, Math.min(OUTPUT_CHUNK_BYTES, room));
      if (bytes.length === 0) return;
      if (sent === acked) movedAt = now();
      if (!link.send({ type: 'output', commandId, stream, offset: sent, bytes: bytes.toString('base64') }))
        return;
      sent += bytes.length;
    }
  };
  const rewind = (offset: number): void => {
    acked = Math.min(offset, spool.size());
    sent = acked;
    rewoundTo = acked;
    movedAt = now();
    pump();
  };

  return {
    spool,
    pump,
    ack: (nextOffset) => {
      const isProgress = nextOffset > acked && nextOffset <= sent;
      if (isProgress) {
        acked = nextOffset;
        movedAt = now();
        pump();
        return;
      }
      if (nextOffset === sent) return;
      if (nextOffset === rewoundTo && now() - movedAt < RESEND_STALL_MS) return;
      rewind(nextOffset);
    },
    restart: (nextOffset) => {
      rewind(nextOffset ?? acked);
      // A new socket: the first refusal on it counts.
      rewoundTo = -1;
    },
    isDelivered: () => acked >= spool.size(),
    resendWhenStalled: (time) => {
      if (acked < spool.size() && time - movedAt >= RESEND_STALL_MS) rewind(acked);
    },
  };
}
