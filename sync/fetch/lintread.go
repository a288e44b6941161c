package fetch

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"io"
)

func (l *linter) header() (kind byte, size int64, err error) {
	b, err := l.in.ReadByte()
	if err != nil {
		return 0, 0, err
	}
	kind, size = b>>4&7, int64(b&15)
	for shift := 4; b&0x80 != 0; shift += 7 {
		if shift > 53 {
			return 0, 0, errors.New("a size is too long")
		}
		if b, err = l.in.ReadByte(); err != nil {
			return 0, 0, err
		}
		size |= int64(b&0x7f) << shift
	}
	return kind, size, nil
}

func (l *linter) offset() (int64, error) {
	b, err := l.in.ReadByte()
	n := int64(b & 0x7f)
	for err == nil && b&0x80 != 0 {
		if n > 1<<48 {
			return 0, errors.New("an offset is too long")
		}
		b, err = l.in.ReadByte()
		n = (n+1)<<7 | int64(b&0x7f)
	}
	return n, err
}

// inflate reads one zlib stream, which must hold exactly size bytes. Of a delta
// it gives the two sizes at its beginning.
func (l *linter) inflate(size int64, delta bool) (from, to int64, err error) {
	if l.z == nil {
		l.z, err = zlib.NewReader(l.in)
	} else {
		err = l.z.(zlib.Resetter).Reset(l.in, nil)
	}
	if err != nil {
		return 0, 0, err
	}
	var head bytes.Buffer
	n, err := io.CopyN(&head, l.z, min(size, 20))
	if err != nil {
		return 0, 0, err
	}
	rest, err := io.Copy(io.Discard, io.LimitReader(l.z, size-n+1))
	if err != nil {
		return 0, 0, err
	}
	if n+rest != size {
		return 0, 0, errors.New("an object is not as long as it says")
	}
	if !delta {
		return 0, 0, nil
	}
	a, err := binary.ReadUvarint(&head) // the same little-endian base 128
	if err != nil {
		return 0, 0, errors.New("a delta has no sizes")
	}
	b, err := binary.ReadUvarint(&head)
	if err != nil {
		return 0, 0, errors.New("a delta has no sizes")
	}
	return int64(a), int64(b), nil
}

// counted counts what is taken out of a buffered reader. It is an io.ByteReader,
// so that inflating takes not one byte too many.
type counted struct {
	r *bufio.Reader
	n int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

func (c *counted) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}
