package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"

	"pullnode/sync"
)

// rotateCommand replaces a signer's key: one commit, signed as always, lists the
// new key beside the old one; a second, signed by the new key, takes the old one
// out. So no key goes before its successor is seen to work.
func rotateCommand() *command {
	c := &clone{}
	var branch, key string
	return &command{args: "OLD.pub NEW.pub [--key NEW] [--branch main] [--push] [--yes]", short: "replace a signer's key without locking anybody out", minArg: 2, maxArg: 2,
		flags: func(fs *flag.FlagSet) {
			c.cloneFlags(fs)
			fs.StringVar(&branch, "branch", "main", "the branch that nodes follow")
			fs.StringVar(&key, "key", "", "the new private key (or its .pub, with ssh-agent): takes the old key out too")
		},
		run: func(ctx context.Context, args []string, out io.Writer) error {
			if err := c.begin(ctx, out); err != nil {
				return err
			}
			var keys [2]ssh.PublicKey
			for i, path := range args {
				raw, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				if keys[i], _, _, _, err = ssh.ParseAuthorizedKey(raw); err != nil {
					return fmt.Errorf("%s is no SSH public key: %w", path, err)
				}
			}
			if err := c.fetch(branch); err != nil {
				return err
			}
			return c.rotate(branch, key, keys[0], keys[1])
		}}
}

func (c *clone) rotate(branch, key string, old, successor ssh.PublicKey) error {
	tip, err := c.tip(branch)
	if err != nil {
		return err
	}
	text, err := c.git("show", tip+":"+sync.SignersPath)
	if err != nil {
		return hint(err, "pullnode init")
	}
	had, line := cutKey(text, old)
	if line == "" {
		return fmt.Errorf("%s does not list %s", sync.SignersPath, ssh.FingerprintSHA256(old))
	}
	if err := c.agreed(fmt.Sprintf("Replace %s by %s?", ssh.FingerprintSHA256(old), ssh.FingerprintSHA256(successor))); err != nil {
		return err
	}
	fresh := strings.Replace(line, keyText(old), keyText(successor), 1)
	if _, there := cutKey(text, successor); there == "" {
		tree, err := c.withSigners(tip, text+"\n"+fresh+"\n")
		if err != nil {
			return err
		}
		who, _, _ := strings.Cut(line, " ")
		if tip, err = c.add(branch, tree, "pullnode: add a key of "+who+"\n", tip); err != nil {
			return err
		}
		had += fresh + "\n"
	}
	if key == "" {
		fmt.Fprintf(c.out, "The old key still signs. When the new one is in use: pullnode rotate-signer … --key NEW\n")
		return nil
	}
	tree, err := c.withSigners(tip, had)
	if err != nil {
		return err
	}
	who, _, _ := strings.Cut(line, " ")
	c.key = key
	_, err = c.add(branch, tree, "pullnode: take out the old key of "+who+"\n", tip)
	return err
}

// keyText is a key as it stands in a file, without a comment.
func keyText(k ssh.PublicKey) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k)))
}

// cutKey gives the text without the line of a key, and that line.
func cutKey(text string, k ssh.PublicKey) (rest, line string) {
	for _, l := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		if strings.Contains(l+" ", keyText(k)+" ") && !strings.HasPrefix(l, "#") {
			line = l
			continue
		}
		rest += l + "\n"
	}
	return rest, line
}

// withSigners gives commit's tree with other allowed signers, by an index of its
// own.
func (c *clone) withSigners(commit, text string) (tree string, err error) {
	if _, err := sync.ParseSigners([]byte(text)); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp("", "pullnode-index-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	git := func(stdin string, args ...string) string {
		if err != nil {
			return ""
		}
		var out []byte
		out, err = gitRaw(c.ctx, c.dir, []string{"GIT_INDEX_FILE=" + filepath.Join(tmp, "index")}, stdin, args...)
		return strings.TrimSpace(string(out))
	}
	blob := git(text, "hash-object", "-w", "--stdin")
	git("", "read-tree", commit)
	git("", "update-index", "--add", "--cacheinfo", "100644,"+blob+","+sync.SignersPath)
	return git("", "write-tree"), err
}
