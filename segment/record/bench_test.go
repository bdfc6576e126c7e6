package record_test

import (
	"testing"

	"walkeep/segment/record"
)

// BenchmarkCheck measures what a receiver pays for each byte, on WAL of pgbench's transactions.
func BenchmarkCheck(b *testing.B) {
	f := loadFixture(b, 15)
	wal := f.wal[:f.size]
	b.SetBytes(int64(len(wal)))
	b.ReportAllocs()
	for b.Loop() {
		if err := f.reader().Check(wal); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkNext is the same with each record taken out.
func BenchmarkNext(b *testing.B) {
	f := loadFixture(b, 15)
	wal := f.wal[:f.size]
	b.SetBytes(int64(len(wal)))
	b.ReportAllocs()
	var last record.Record
	records := 0
	for b.Loop() {
		r := f.reader()
		r.Feed(wal)
		for r.Next() {
			last = r.Record()
			records++
		}
		if r.Err() != nil || last.Length == 0 {
			b.Fatal(r.Err())
		}
	}
	b.ReportMetric(float64(records)/float64(b.N), "records/op")
}
