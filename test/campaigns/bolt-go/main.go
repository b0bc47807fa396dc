package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"strconv"

	bolt "go.etcd.io/bbolt"
)

// usage: go check FILE | dump FILE | apply FILE < ops ; ops: b P.. / put path key val / del path key / rmb path name / seq path n / commit
func bk(tx *bolt.Tx, path string, create bool) *bolt.Bucket {
	var b *bolt.Bucket
	for _, p := range strings.Split(path, "/") {
		n, _ := hex.DecodeString(p)
		var err error
		if b == nil {
			if create { b, err = tx.CreateBucketIfNotExists(n) } else { b = tx.Bucket(n) }
		} else {
			if create { b, err = b.CreateBucketIfNotExists(n) } else { b = b.Bucket(n) }
		}
		if err != nil { panic(err) }
		if b == nil { return nil }
	}
	return b
}

func dumpB(w *bufio.Writer, prefix string, b *bolt.Bucket) {
	fmt.Fprintf(w, "B %s %d\n", prefix, b.Sequence())
	b.ForEach(func(k, v []byte) error {
		if v == nil {
			dumpB(w, prefix+"/"+hex.EncodeToString(k), b.Bucket(k))
		} else {
			fmt.Fprintf(w, "K %s %s %s\n", prefix, hex.EncodeToString(k), hex.EncodeToString(v))
		}
		return nil
	})
}

func main() {
	opts := &bolt.Options{}
	if os.Getenv("NOFREELIST") != "" { opts.NoFreelistSync = true }
	if os.Getenv("FREEMAP") != "" { opts.FreelistType = bolt.FreelistMapType }
	if p := os.Getenv("PAGESIZE"); p != "" { opts.PageSize, _ = strconv.Atoi(p) }
	cmd := os.Args[1]
	if cmd != "apply" { opts.ReadOnly = true }
	db, err := bolt.Open(os.Args[2], 0600, opts)
	if err != nil { fmt.Println("OPEN", err); os.Exit(1) }
	defer db.Close()
	w := bufio.NewWriterSize(os.Stdout, 1<<20)
	defer w.Flush()
	switch cmd {
	case "check":
		db.View(func(tx *bolt.Tx) error {
			n := 0
			for e := range tx.Check() { fmt.Fprintln(w, e); n++ }
			fmt.Fprintf(w, "problems %d\n", n)
			return nil
		})
	case "dump":
		db.View(func(tx *bolt.Tx) error {
			return tx.ForEach(func(n []byte, b *bolt.Bucket) error { dumpB(w, hex.EncodeToString(n), b); return nil })
		})
	case "apply":
		sc := bufio.NewScanner(os.Stdin)
		sc.Buffer(make([]byte, 1<<26), 1<<26)
		tx, err := db.Begin(true)
		if err != nil { panic(err) }
		for sc.Scan() {
			f := strings.Split(sc.Text(), " ")
			switch f[0] {
			case "put":
				k, _ := hex.DecodeString(f[2]); v, _ := hex.DecodeString(f[3])
				b := bk(tx, f[1], true)
				if len(f) > 4 { p, _ := strconv.ParseFloat(f[4], 64); b.FillPercent = p }
				if err := b.Put(k, v); err != nil { panic(err) }
			case "del":
				k, _ := hex.DecodeString(f[2])
				if err := bk(tx, f[1], true).Delete(k); err != nil { panic(err) }
			case "rmb":
				k, _ := hex.DecodeString(f[2])
				if f[1] == "." { err = tx.DeleteBucket(k) } else { err = bk(tx, f[1], true).DeleteBucket(k) }
				if err != nil { panic(err) }
			case "seq":
				n, _ := strconv.ParseUint(f[2], 10, 64)
				if err := bk(tx, f[1], true).SetSequence(n); err != nil { panic(err) }
			case "commit":
				if err := tx.Commit(); err != nil { panic(err) }
				tx, err = db.Begin(true)
				if err != nil { panic(err) }
			}
		}
		tx.Rollback()
	}
}
