package segment

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/cespare/xxhash/v2"
	"github.com/pierrec/lz4/v4"
)

// blockSize is the size of the independent LZ4 blocks: measured to need the least CPU at nearly the best
// ratio.
const blockSize = 64 << 10

// maxRatio is more than LZ4 can compress: each input byte stands for at most 255 bytes of output. A length
// beyond it is refused before memory is taken for it.
const maxRatio = 256

// MaxEncoded is the most bytes that encoding n raw bytes can take, the statement included. LZ4 stores a
// block that does not shrink as it is, with four bytes in front.
func MaxEncoded(n int) int {
	const frameHeader, frameEnd = 15 + 4, 8
	return StatementSize + frameHeader + n + 4*(n/blockSize+1) + frameEnd
}

// An Encoder turns raw WAL into stored objects. It is for one goroutine at a time; reuse saves its
// working memory.
type Encoder struct {
	writer *lz4.Writer
}

// NewEncoder returns an Encoder with its working memory, about 200 KiB.
func NewEncoder() *Encoder {
	return &Encoder{writer: lz4.NewWriter(nil)}
}

// Encode appends to dst the object that holds raw as stated. It only reads raw. If dst has MaxEncoded(len(raw)) bytes
// free, it is not reallocated. The statement must be the one of raw: NewStatement.
func (e *Encoder) Encode(dst []byte, statement Statement, raw []byte) ([]byte, error) {
	if statement.Len() != len(raw) {
		return dst, fmt.Errorf("encode %s: have %d bytes", statement, len(raw))
	}
	out, err := e.compress(statement.Append(dst), raw)
	if err != nil {
		return dst, fmt.Errorf("encode %s: %w", statement, err)
	}
	return out, nil
}

// compress appends raw to dst as one LZ4 frame.
func (e *Encoder) compress(dst, raw []byte) ([]byte, error) {
	out := appender{buf: dst}
	e.writer.Reset(&out)
	err := e.writer.Apply(
		lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(true), lz4.SizeOption(uint64(len(raw))),
		lz4.ConcurrencyOption(1), lz4.CompressionLevelOption(lz4.Fast))
	if err == nil {
		_, err = e.writer.Write(raw)
	}
	if err == nil {
		err = e.writer.Close()
	}
	return out.buf, err
}

// appender is an io.Writer that appends to a slice.
type appender struct{ buf []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.buf = append(a.buf, p...)
	return len(p), nil
}

// ErrDamaged: an object does not decode to what its statement says.
var ErrDamaged = errors.New("stored object is damaged")

// Decode appends to dst the raw bytes that object holds, checked against the frame's own checksums and
// the statement. On error dst is returned as it was.
func Decode(dst, object []byte) ([]byte, Statement, error) {
	statement, encoded, err := ParseStatement(object)
	if err != nil {
		return dst, Statement{}, err
	}
	out, err := decompress(dst, encoded, statement.Len(), statement.Hash)
	if err != nil {
		return dst, statement, fmt.Errorf("%w: %s: %w", ErrDamaged, statement, err)
	}
	return out, statement, nil
}

// decompress appends to dst the n raw bytes that encoded, one LZ4 frame, holds. It checks the frame's own checksums, the
// length and the hash.
func decompress(dst, encoded []byte, n int, hash uint64) ([]byte, error) {
	if n > maxRatio*(len(encoded)+1) {
		return dst, fmt.Errorf("%d bytes can't hold that much", len(encoded))
	}
	start := len(dst)
	out := append(dst, make([]byte, n)...)
	in := bytes.NewReader(encoded)
	reader := lz4.NewReader(in)
	if _, err := io.ReadFull(reader, out[start:]); err != nil && n > 0 {
		return dst, noEOF(err)
	}
	var probe [1]byte
	if k, err := reader.Read(probe[:]); k != 0 || !errors.Is(err, io.EOF) || in.Len() != 0 {
		return dst, fmt.Errorf("more bytes than stated, or a bad end (%v)", err)
	}
	if xxhash.Sum64(out[start:]) != hash {
		return dst, errors.New("hash differs")
	}
	return out, nil
}

// noEOF keeps a truncated object from looking like a clean end.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
