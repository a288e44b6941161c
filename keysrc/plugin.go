package keysrc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"filippo.io/age"
	"filippo.io/age/plugin"
)

// PluginName is the name of the age plugin; its program is PluginProgram.
const (
	PluginName    = "pullnode"
	PluginProgram = "age-plugin-" + PluginName
)

// pluginTimeout is for the source: somebody may have to plug a stick in.
const pluginTimeout = 2 * time.Minute

// PluginIdentity is the line for an age identity file that makes age and sops
// ask the plugin. It holds no secret; a socket that is not DefaultSocket is in
// it.
func PluginIdentity(socket string) string {
	var data []byte
	if socket != "" && socket != DefaultSocket {
		data = []byte(socket)
	}
	return plugin.EncodeIdentity(PluginName, data)
}

// DefaultSocket is where the keys process of an installed host listens.
const DefaultSocket = "/run/pullnode-keys/age.sock"

// PluginFile is an age identity file with the plugin's identity, which
// pullnode-keys.socket makes on an installed host.
const PluginFile = "/run/pullnode-keys/age-plugin.txt"

// Plugin is the program age-plugin-pullnode: it speaks age's plugin protocol on
// in and out, with the arguments that age gives, and passes what it is asked to
// the keys process. It gives the exit status.
func Plugin(ctx context.Context, args []string, in io.Reader, out, stderr io.Writer) int {
	switch {
	case len(args) == 1 && args[0] == "--age-plugin=identity-v1":
	case len(args) == 0:
		// For a person: what to put into the identity file.
		fmt.Fprintln(out, "# age and sops ask the keys process of pullnode")
		fmt.Fprintln(out, PluginIdentity(""))
		return 0
	default:
		fmt.Fprintf(stderr, "%s: only --age-plugin=identity-v1 is spoken; encrypt for the host's own recipient (age1...)\n", PluginProgram)
		return 2
	}
	p, err := plugin.New(PluginName)
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", PluginProgram, err)
		return 1
	}
	p.SetIO(in, out, stderr)
	ctx, cancel := context.WithTimeout(ctx, pluginTimeout)
	defer cancel()
	p.HandleIdentity(func(data []byte) (age.Identity, error) {
		socket := DefaultSocket
		if len(data) > 0 {
			socket = string(data)
		}
		return pluginIdentity{Client{Path: socket}.Identity(ctx), socket}, nil
	})
	return p.IdentityV1()
}

// pluginIdentity says what to do when nobody answers.
type pluginIdentity struct {
	age.Identity
	socket string
}

// Unwrap is age.Identity's.
func (i pluginIdentity) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	fileKey, err := i.Identity.Unwrap(stanzas)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("nobody listens on %s: is pullnode-keys.socket active?", i.socket)
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("%s: only root may ask for this host's secrets", i.socket)
	}
	return fileKey, err
}
