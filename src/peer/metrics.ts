/** The figures of this room, under etcd's names. Who embeds a member says where they go. */

interface Description {
  readonly kind: "counter" | "gauge" | "histogram";
  readonly help: string;
  readonly labels?: readonly string[];
  /** Upper bounds, in seconds. */
  readonly buckets?: readonly number[];
}

const SNAPSHOT_BUCKETS = Array.from({ length: 10 }, (_, power) => 0.1 * 2 ** power);
const ROUND_TRIP_BUCKETS = Array.from({ length: 16 }, (_, power) => 0.0001 * 2 ** power);

export const PEER_METRICS = {
  etcd_network_active_peers: { kind: "gauge", help: "Connected members.", labels: ["Local", "Remote"] },
  etcd_network_disconnected_peers_total: { kind: "counter", help: "Lost members.", labels: ["Local", "Remote"] },
  etcd_network_peer_sent_bytes_total: { kind: "counter", help: "Bytes sent to members.", labels: ["To"] },
  etcd_network_peer_received_bytes_total: { kind: "counter", help: "Bytes received from members.", labels: ["From"] },
  etcd_network_peer_sent_failures_total: { kind: "counter", help: "Messages that were not sent.", labels: ["To"] },
  etcd_network_peer_received_failures_total: {
    kind: "counter",
    help: "Messages and requests of members that were refused.",
    labels: ["From"],
  },
  etcd_network_peer_round_trip_time_seconds: {
    kind: "histogram",
    help: "Time of a probe there and back.",
    labels: ["To"],
    buckets: ROUND_TRIP_BUCKETS,
  },
  etcd_network_snapshot_send_success: { kind: "counter", help: "Snapshots sent.", labels: ["To"] },
  etcd_network_snapshot_send_failures: { kind: "counter", help: "Snapshots not sent.", labels: ["To"] },
  etcd_network_snapshot_send_inflights_total: { kind: "gauge", help: "Snapshots on their way out.", labels: ["To"] },
  etcd_network_snapshot_send_total_duration_seconds: {
    kind: "histogram",
    help: "Time to send a snapshot.",
    labels: ["To"],
    buckets: SNAPSHOT_BUCKETS,
  },
  etcd_network_snapshot_receive_success: { kind: "counter", help: "Snapshots received.", labels: ["From"] },
  etcd_network_snapshot_receive_failures: { kind: "counter", help: "Snapshots not received.", labels: ["From"] },
  etcd_network_snapshot_receive_inflights_total: {
    kind: "gauge",
    help: "Snapshots on their way in.",
    labels: ["From"],
  },
  etcd_network_snapshot_receive_total_duration_seconds: {
    kind: "histogram",
    help: "Time to receive a snapshot.",
    labels: ["From"],
    buckets: SNAPSHOT_BUCKETS,
  },
} as const satisfies Record<string, Description>;

export type PeerMetricName = keyof typeof PEER_METRICS;

/** Where figures go. Calls are cheap and never throw. */
export interface PeerMetrics {
  count(name: PeerMetricName, by?: number, labels?: Readonly<Record<string, string>>): void;
  set(name: PeerMetricName, value: number, labels?: Readonly<Record<string, string>>): void;
  observe(name: PeerMetricName, value: number, labels?: Readonly<Record<string, string>>): void;
}

/** Keeps nothing. */
export const noPeerMetrics: PeerMetrics = { count: () => undefined, set: () => undefined, observe: () => undefined };
