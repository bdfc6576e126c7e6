package record

import (
	"errors"
	"fmt"
)

// An Image is a copy of a page in a record (access/xlogrecord.h: XLogRecordBlockImageHeader).
type Image struct {
	Size       int // bytes in the record
	HoleOffset int // where the zeros are that were left out
	HoleLength int
	Method     Compression
	Apply      bool   // replay restores it; else it is there for wal_consistency_checking
	Data       []byte // Size bytes, or what was kept of them
}

// Compression is how an image is compressed (wal_compression).
type Compression uint8

// The methods of wal_compression; LZ4 and zstd from 15 on.
const (
	Uncompressed Compression = iota
	PGLZ
	LZ4
	Zstd
)

// String returns PostgreSQL's word for it.
func (m Compression) String() string {
	return [...]string{"none", "pglz", "lz4", "zstd"}[m&3]
}

const hasHole = 0x01 // BKPIMAGE_HAS_HOLE

// imageFlags reads bimg_info, whose bits changed in 15.
func imageFlags(v Version, info uint8) (m Compression, apply bool, err error) {
	if v < 15 {
		const isCompressed, isApplied = 0x02, 0x04 // BKPIMAGE_IS_COMPRESSED, BKPIMAGE_APPLY
		if info&isCompressed != 0 {
			m = PGLZ
		}
		return m, info&isApplied != 0, nil
	}
	const isApplied, pglz, lz4, zstd = 0x02, 0x04, 0x08, 0x10 // BKPIMAGE_APPLY, BKPIMAGE_COMPRESS_*
	switch info & (pglz | lz4 | zstd) {
	case 0:
	case pglz:
		m = PGLZ
	case lz4:
		m = LZ4
	case zstd:
		m = Zstd
	default:
		err = fmt.Errorf("image info %02X", info)
	}
	return m, info&isApplied != 0, err
}

// decode reads an image's header and repeats the checks of DecodeXLogRecord (access/transam/xlogreader.c).
func (i *Image) decode(v Version, in *cursor) (err error) {
	i.Size, i.HoleOffset = int(in.uint16()), int(in.uint16())
	info := in.uint8()
	if i.Method, i.Apply, err = imageFlags(v, info); err != nil {
		return err
	}
	switch {
	case i.Method == Uncompressed:
		i.HoleLength = blockSize - i.Size
	case info&hasHole != 0:
		i.HoleLength = int(in.uint16())
	}
	switch {
	case in.short:
		return nil // said by the caller
	case i.Size > blockSize || i.Method != Uncompressed && i.Size == blockSize:
		return fmt.Errorf("image of %d bytes, compression %s", i.Size, i.Method)
	case info&hasHole != 0 && (i.HoleOffset == 0 || i.HoleLength == 0 || i.Size == blockSize):
		return errors.New("image with an empty hole")
	case info&hasHole == 0 && (i.HoleOffset != 0 || i.HoleLength != 0):
		return errors.New("image without a hole that has one")
	case i.HoleOffset+i.HoleLength > blockSize:
		return fmt.Errorf("image's hole of %d bytes at %d", i.HoleLength, i.HoleOffset)
	}
	return nil
}
