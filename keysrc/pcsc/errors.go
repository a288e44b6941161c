package pcsc

import (
	"errors"
	"fmt"
)

// Error is a status that the daemon gave (pcsclite.h).
type Error uint32

// What callers tell apart.
const (
	ErrInUse     Error = 0x8010000b // another program has the card
	ErrNoCard    Error = 0x8010000c // the card is not in the reader
	ErrNoReader  Error = 0x80100009 // the reader is not there
	ErrGone      Error = 0x80100017 // the reader was taken away
	ErrRemoved   Error = 0x80100069 // the card was taken away
	ErrReset     Error = 0x80100068 // somebody reset the card meanwhile
	ErrRefused   Error = 0x8010006a // the daemon's policy refuses this user
	ErrNoReaders Error = 0x8010002e
	errProtocol  Error = 0x8010000f
	errUnpowered Error = 0x80100067
	errSilent    Error = 0x80100066
	errVersion   Error = 0x8010001e // the daemon has stopped
	errTransact  Error = 0x80100016
)

var texts = map[Error]string{
	ErrInUse:     "another program uses the card",
	ErrNoCard:    "there is no card in the reader",
	ErrNoReader:  "there is no such reader",
	ErrGone:      "the reader was taken away",
	ErrRemoved:   "the card was taken away",
	ErrReset:     "another program reset the card",
	ErrRefused:   "pcscd does not let this user use cards",
	ErrNoReaders: "there is no reader",
	errProtocol:  "the card was reset and speaks no protocol yet",
	errUnpowered: "the card has no power",
	errSilent:    "the card does not answer",
	errVersion:   "pcscd has stopped",
	errTransact:  "the card does not take part in the exchange",
}

// Error is error's.
func (e Error) Error() string {
	if t, ok := texts[e]; ok {
		return t
	}
	return fmt.Sprintf("pcscd says 0x%08x", uint32(e))
}

// Absent tells whether err means that card or reader are not there (any more).
func Absent(err error) bool {
	for _, e := range []Error{ErrNoCard, ErrNoReader, ErrGone, ErrRemoved, ErrNoReaders, errUnpowered} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Disturbed tells whether err means that the card was reset under the caller's
// hands, as pcscd does when another program's connection ends without a word.
// What was done since Connect is to be done again.
func Disturbed(err error) bool {
	return errors.Is(err, ErrReset) || errors.Is(err, errProtocol) || errors.Is(err, errTransact)
}
