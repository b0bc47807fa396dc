/** One stream of a connection: what both directions have left, and what waits to be sent. Only the connection changes it. */
import type { OutgoingFields } from "./fields.js";

export class Http2Stream<User> {
  readonly id: number;
  /** What the user of the connection keeps with the stream. */
  user: User | undefined = undefined;

  /** The client has sent its last frame, or this side's last frame has left. */
  remoteEnded = false;
  localEnded = false;
  /** Nothing more comes of it or goes to it. */
  closed = false;

  /** Bytes that the client may still send, and that may be sent to it. Below zero after SETTINGS that take some back. */
  receiveWindow: number;
  sendWindow: number;
  /** Bytes of content that are still to come, where the request announced them; -1 where it did not. */
  contentLeft = -1;

  /** In the order in which they are sent. */
  queuedHead: OutgoingFields | undefined = undefined;
  queuedChunks: Uint8Array[] | undefined = undefined;
  /** Bytes of the first chunk that have been sent. */
  queuedFrom = 0;
  queuedBytes = 0;
  queuedTrailers: OutgoingFields | undefined = undefined;
  /** What may wait before its sender is told to, where that is more than the connection's own figure. */
  queueMarkBytes = 0;
  /** Whether it stands in the sender's ring. */
  inRing = false;
  /** Whether its sender was told to wait. */
  awaitsDrain = false;

  constructor(id: number, receiveWindow: number, sendWindow: number) {
    this.id = id;
    this.receiveWindow = receiveWindow;
    this.sendWindow = sendWindow;
  }

  /** Whether something waits in front of what is sent next. */
  get hasQueue(): boolean {
    return this.queuedHead !== undefined || this.queuedBytes > 0 || this.queuedTrailers !== undefined;
  }
}
