package record

import (
	"errors"
	"fmt"
)

// Format facts of record bodies (access/xlogrecord.h).
const (
	maxBlockID         = 32  // XLR_MAX_BLOCK_ID
	blockIDTopLevelXID = 252 // XLR_BLOCK_ID_TOPLEVEL_XID: u32, from 14 on
	blockIDOrigin      = 253 // XLR_BLOCK_ID_ORIGIN: u16
	blockIDDataLong    = 254 // XLR_BLOCK_ID_DATA_LONG: u32 length
	blockIDDataShort   = 255 // XLR_BLOCK_ID_DATA_SHORT: u8 length

	forkMask     = 0x0F // BKPBLOCK_FORK_MASK
	hasImageFlag = 0x10 // BKPBLOCK_HAS_IMAGE
	hasDataFlag  = 0x20 // BKPBLOCK_HAS_DATA
	willInitFlag = 0x40 // BKPBLOCK_WILL_INIT
	sameRelFlag  = 0x80 // BKPBLOCK_SAME_REL

	blockSize = 8192 // BLCKSZ as every distribution builds it
)

// ErrCut: the part of a record's body that is at hand ends before what was to be decoded. See Reader.KeepBodies.
var ErrCut = errors.New("only the beginning of the record was kept")

// A Body is what a record holds behind its header. Decode fills it; its slices alias what was decoded.
type Body struct {
	// Blocks are the pages that the record refers to, in order of their ids, which may leave out numbers.
	Blocks []Block
	// Main is the data whose shape depends on resource manager and operation. It is cut short if the body was.
	Main []byte
	// MainLength is the length of Main in the record, in bytes.
	MainLength int
	// Origin is the replication origin of the change, 0 for the server itself.
	Origin uint16
	// TopLevelXID is the transaction of the record's subtransaction, where the server logged it; else 0.
	TopLevelXID uint32
	// IsCut tells that the body was not there as a whole: Main and payloads of blocks may be shorter than in the record.
	IsCut bool
}

// A Block is one page that a record refers to (access/xlogreader.h: DecodedBkpBlock).
type Block struct {
	ID       uint8
	Fork     Fork
	Relation Locator
	Number   uint32 // of the page in its fork
	WillInit bool   // replay builds the page anew
	HasImage bool
	Image    Image
	Data     []byte
	dataSize int
}

// ImageBytes is how many bytes the record's page images take.
func (b *Body) ImageBytes() int {
	n := 0
	for i := range b.Blocks {
		n += b.Blocks[i].Image.Size
	}
	return n
}

// Block returns the block with that id.
func (b *Body) Block(id uint8) (*Block, bool) {
	for i := range b.Blocks {
		if b.Blocks[i].ID == id {
			return &b.Blocks[i], true
		}
	}
	return nil, false
}

// Decode takes apart a record's body: what Reader.Prefix gives, as a whole or its beginning (access/transam/xlogreader.c:
// DecodeXLogRecord). b keeps slices of p. It takes no memory once b has had as many blocks before. ErrCut if p ends
// before the headers of the parts do; any other error means that PostgreSQL can't have written this.
func (b *Body) Decode(v Version, c Record, p []byte) error {
	*b = Body{Blocks: b.Blocks[:0]}
	rest := int(c.Length) - headerSize // of the record, of which p may have the beginning only
	b.IsCut = len(p) < rest
	in := cursor{p: p}
	payload := 0
	for !in.short && rest-(len(p)-len(in.p)) > payload {
		n, isMain, err := b.decodePart(v, &in)
		if err != nil {
			return b.failed(c, &in, err)
		}
		payload += n
		if isMain {
			break // always the last
		}
	}
	if !in.short && rest-(len(p)-len(in.p)) != payload {
		return b.failed(c, &in, errors.New("its parts don't add up to its length"))
	}
	if in.short {
		return b.failed(c, &in, errors.New("it ends within the headers of its parts"))
	}
	b.slice(in.p)
	return nil
}

func (b *Body) failed(c Record, in *cursor, err error) error {
	if in.short && b.IsCut {
		err = ErrCut
	}
	return fmt.Errorf("record at %s, %s: %w", c.LSN, ManagerName(c.RMID), err)
}

// decodePart reads the header of one part and returns how many bytes of payload it announces.
func (b *Body) decodePart(v Version, in *cursor) (payload int, isMain bool, err error) {
	switch id := in.uint8(); {
	case id == blockIDDataShort:
		b.MainLength = int(in.uint8())
		return b.MainLength, true, nil
	case id == blockIDDataLong:
		b.MainLength = int(in.uint32())
		return b.MainLength, true, nil
	case id == blockIDOrigin:
		b.Origin = in.uint16()
	case id == blockIDTopLevelXID && v >= 14:
		b.TopLevelXID = in.uint32()
	case id <= maxBlockID:
		n, err := b.decodeBlock(v, id, in)
		return n, false, err
	default:
		return 0, false, fmt.Errorf("block id %d", id)
	}
	return 0, false, nil
}

// decodeBlock reads the header of a block reference.
func (b *Body) decodeBlock(v Version, id uint8, in *cursor) (payload int, err error) {
	n := len(b.Blocks)
	if n > 0 && b.Blocks[n-1].ID >= id {
		return 0, fmt.Errorf("block %d follows block %d", id, b.Blocks[n-1].ID)
	}
	flags := in.uint8()
	k := Block{ID: id, Fork: Fork(flags & forkMask), WillInit: flags&willInitFlag != 0, dataSize: int(in.uint16())}
	if !in.short && (flags&hasDataFlag != 0) != (k.dataSize > 0) {
		return 0, fmt.Errorf("block %d: flags %02X with %d bytes of data", id, flags, k.dataSize)
	}
	if flags&hasImageFlag != 0 {
		k.HasImage = true
		if err := k.Image.decode(v, in); err != nil {
			return 0, fmt.Errorf("block %d: %w", id, err)
		}
	}
	switch {
	case flags&sameRelFlag == 0:
		k.Relation = in.locator()
	case n == 0:
		return 0, fmt.Errorf("block %d: of the same relation as no other", id)
	default:
		k.Relation = b.Blocks[n-1].Relation
	}
	k.Number = in.uint32()
	b.Blocks = append(b.Blocks, k)
	return k.Image.Size + k.dataSize, nil
}

// slice hands out the payloads: of each block its image and its data, then the main data.
func (b *Body) slice(p []byte) {
	take := func(n int) []byte {
		n = min(n, len(p))
		part := p[:n:n]
		p = p[n:]
		return part
	}
	for i := range b.Blocks {
		k := &b.Blocks[i]
		k.Image.Data = take(k.Image.Size)
		k.Data = take(k.dataSize)
	}
	b.Main = take(b.MainLength)
}
