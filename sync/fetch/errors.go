package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"
	"unicode"

	"pullnode/sync"
)

// Internal is the class of what is wrong on this side.
const Internal = sync.Internal

// Error is a failure with the class that decides when to ask again. Its text is
// one line and holds no secret; parts of it may come from the server.
type Error struct {
	Class      sync.Class
	HTTPStatus int
	RetryAfter time.Duration
	Text       string
	Err        error // the cause, for errors.Is
}

func (e *Error) Error() string { return e.Text }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

func fail(c sync.Class, format string, args ...any) error {
	return &Error{Class: c, Text: oneLine(fmt.Sprintf(format, args...))}
}

var (
	errDeadline = errors.New("it took too long")
	errSlow     = errors.New("it sent too slowly")
	// errFlood is of bytes that are in no message that has a cap of its own.
	errFlood = &Error{Class: sync.OverLimit, Text: "the server sends more than is allowed"}
)

// classify turns any error into an *Error. An error that is one already is kept:
// whoever made it knew more. A deadline of ctx wins over what it caused.
func classify(ctx context.Context, doing string, err error) error {
	if err == nil {
		return nil
	}
	var known *Error
	if errors.As(err, &known) && known.Class != sync.BadData && known.Class != sync.Unreachable {
		return known
	}
	if ctx != nil && ctx.Err() != nil {
		if errors.As(context.Cause(ctx), &known) {
			return known
		}
		return &Error{Class: sync.TimedOut, Text: oneLine(doing + ": " + context.Cause(ctx).Error()), Err: err}
	}
	if known != nil {
		return known
	}
	return &Error{Class: classOf(err), Text: oneLine(doing + ": " + err.Error()), Err: err}
}

func classOf(err error) sync.Class {
	var (
		ne       net.Error
		cert     *tls.CertificateVerificationError
		record   tls.RecordHeaderError
		alert    tls.AlertError
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		invalid  x509.CertificateInvalidError
		op       *net.OpError
		dns      *net.DNSError
	)
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return sync.NoSpace
	case errors.Is(err, syscall.EFBIG):
		return sync.OverLimit
	case errors.As(err, &cert), errors.As(err, &record), errors.As(err, &alert), errors.As(err, &unknown),
		errors.As(err, &hostname), errors.As(err, &invalid), strings.Contains(err.Error(), "tls: "),
		strings.Contains(err.Error(), "HTTP response to HTTPS client"):
		return sync.TLSFailed
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &ne) && ne.Timeout():
		return sync.TimedOut
	case errors.As(err, &dns), errors.As(err, &op), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return sync.Unreachable
	}
	return sync.Unreachable
}

// local classifies an error of this machine's own files.
func local(doing string, err error) error {
	var known *Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	c := Internal
	if k := classOf(err); k == sync.NoSpace || k == sync.OverLimit {
		c = k
	}
	return &Error{Class: c, Text: oneLine(doing + ": " + err.Error()), Err: err}
}

// textLimit keeps a report below its size even if every byte is escaped.
const textLimit = 400

// oneLine makes text from anywhere fit for a log line and a report.
func oneLine(s string) string {
	s = strings.ToValidUTF8(strings.Join(strings.Fields(s), " "), "?")
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	if len(s) > textLimit {
		s = strings.ToValidUTF8(s[:textLimit-3], "") + "..."
	}
	return s
}
