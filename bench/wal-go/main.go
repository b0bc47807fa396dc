// The other side of `npm run bench:wal`: the same work through etcd's own Go package (Debian: golang-etcd-server-dev).
//
//	main save DIR BYTES BATCH SAVES   saves that many batches, prints the seconds it took
//	main read DIR                     opens and reads all, prints the seconds and the entries
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"go.etcd.io/etcd/raft/raftpb"
	"go.etcd.io/etcd/wal"
	"go.etcd.io/etcd/wal/walpb"
	"go.uber.org/zap"
)

// Saves before the clock starts, as in bench/wal.ts.
const uncountedSaves = 20

func main() {
	switch os.Args[1] {
	case "save":
		save(os.Args[2], number(os.Args[3]), number(os.Args[4]), number(os.Args[5]))
	case "read":
		read(os.Args[2])
	}
}

func save(dir string, size, batch, saves int) {
	w, err := wal.Create(zap.NewNop(), dir, []byte("bench"))
	must(err)
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i*7 + 1)
	}
	entries := make([]raftpb.Entry, batch)
	index := uint64(0)
	var started time.Time
	for s := -uncountedSaves; s < saves; s++ {
		if s == 0 {
			started = time.Now()
		}
		for i := range entries {
			index++
			entries[i] = raftpb.Entry{Term: 1, Index: index, Data: data}
		}
		must(w.Save(raftpb.HardState{Term: 1, Commit: index}, entries))
	}
	fmt.Printf("%.6f\n", time.Since(started).Seconds())
	must(w.Close())
}

func read(dir string) {
	started := time.Now()
	w, err := wal.Open(zap.NewNop(), dir, walpb.Snapshot{})
	must(err)
	_, _, entries, err := w.ReadAll()
	must(err)
	took := time.Since(started).Seconds()
	var usage syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	fmt.Printf("%.6f %d %d\n", took, len(entries), usage.Maxrss)
	runtime.KeepAlive(entries)
	must(w.Close())
}

func number(text string) int {
	value, err := strconv.Atoi(text)
	must(err)
	return value
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
