#!/bin/sh
# make.sh ETCD_BIN_DIR OUT
set -e
BIN=$1; OUT=$2; D=$(mktemp -d)
start() { "$BIN/etcd" --data-dir "$D/d" --name 'n<&>1' --snapshot-count=10 --listen-client-urls http://127.0.0.1:23790 --advertise-client-urls http://127.0.0.1:23790 \
  --listen-peer-urls http://127.0.0.1:23800 --initial-advertise-peer-urls http://127.0.0.1:23800 --initial-cluster 'n<&>1=http://127.0.0.1:23800' > "$D/log" 2>&1 & P=$!
  for i in $(seq 1 50); do "$BIN/etcdctl" --endpoints 127.0.0.1:23790 endpoint health >/dev/null 2>&1 && break; sleep 0.1; done; }
ctl() { "$BIN/etcdctl" --endpoints 127.0.0.1:23790 "$@" >/dev/null; }
start
for i in 1 2 3; do ctl put k$i v$i; done
ctl member add n2 --learner --peer-urls=http://127.0.0.1:23801
ID=$("$BIN/etcdctl" --endpoints 127.0.0.1:23790 member list | grep unstarted | cut -d, -f1)
ctl member update $ID --peer-urls=http://127.0.0.1:23802,http://127.0.0.1:23803
ctl member remove $ID
ctl member add n3 --learner --peer-urls=http://127.0.0.1:23804
kill $P; wait $P || true
start
for i in $(seq 1 15); do ctl put k$i w$i; done
kill $P; wait $P || true
cp $(ls "$D"/d/member/snap/*.snap | tail -1) "$OUT/"
