/** The way to the other members: etcd's peer protocol. */
export * from "./contract.js";
export * from "./errors.js";
export { HttpPeers, type HttpPeersDependencies, type HttpPeersOptions } from "./http-peers.js";
export { noPeerMetrics, PEER_METRICS, type PeerMetricName, type PeerMetrics } from "./metrics.js";
export { isPeerUrl, peerAddress } from "./urls.js";
export type { PeerTimeouts } from "./world.js";
