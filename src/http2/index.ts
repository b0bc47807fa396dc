/** HTTP/2 for servers: frames, HPACK and the state of a connection, without a socket. Knows nothing of gRPC. */
export { type Http2Fault, Http2Connection, type Http2Listener } from "./connection.js";
export { FieldBlock, type OutgoingField, OutgoingFields } from "./fields.js";
export * from "./frames.js";
export { HpackDecoder, type HpackDecoderLimits, HpackError } from "./hpack-decoder.js";
export { fieldsRoom, HpackEncoder } from "./hpack-encoder.js";
export { HTTP2_LIMITS, type Http2Limits } from "./limits.js";
export { Http2Stream } from "./stream.js";
