// Command kmip-go is a KMIP server and a KMIP client on github.com/ovh/kmip-go, for tests of the plugin: the library of the
// Go original, and one that this project did not write. The server also has the OKMS REST API, on net/http, for its one key.
//
//	kmip-go serve CERT KEY CA [DELAY]  prints {"port": N, "id": "...", "name": "...", "rest": {"port": N, "okmsId": "...", "id": "..."}},
//	                                   then takes {"versions": [...], "tagInData": bool}; is DELAY (as "2.5ms") away, one way
//	kmip-go client ADDRESS CERT KEY CA VERSION   takes {"do": "encrypt" | "decrypt" | "locate", ...}
//
// Each line of JSON on standard input is answered by one; bytes are hexadecimal. Ends with its standard input.
package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 4 && args[0] == "serve":
		return serve(args[1], args[2], args[3], 0)
	case len(args) == 5 && args[0] == "serve":
		delay, err := time.ParseDuration(args[4])
		if err != nil {
			return err
		}
		return serve(args[1], args[2], args[3], delay)
	case len(args) == 6 && args[0] == "client":
		return client(args[1], args[2], args[3], args[4], args[5])
	default:
		return fmt.Errorf("usage: serve CERT KEY CA [DELAY] | client ADDRESS CERT KEY CA VERSION")
	}
}

// request is one line of standard input.
type request struct {
	Versions  []string `json:"versions"`
	TagInData bool     `json:"tagInData"`

	Do   string `json:"do"`
	ID   string `json:"id"`
	Name string `json:"name"`
	Data bytes  `json:"data"`
	IV   bytes  `json:"iv"`
	Tag  bytes  `json:"tag"`
}

// reply is one line of standard output.
type reply struct {
	Port int    `json:"port,omitempty"`
	ID   string `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
	// REST is where the OKMS REST API is.
	REST *rest `json:"rest,omitempty"`
	Data bytes `json:"data,omitempty"`
	Tag  bytes `json:"tag,omitempty"`
	// Failed is what an operation failed with.
	Failed string `json:"failed,omitempty"`
}

type rest struct {
	Port   int    `json:"port"`
	OkmsID string `json:"okmsId"`
	ID     string `json:"id"`
}

// bytes are hexadecimal in JSON.
type bytes []byte

func (b bytes) MarshalJSON() ([]byte, error) { return json.Marshal(hex.EncodeToString(b)) }

func (b *bytes) UnmarshalJSON(text []byte) error {
	var digits string
	if err := json.Unmarshal(text, &digits); err != nil {
		return err
	}
	decoded, err := hex.DecodeString(digits)
	*b = decoded
	return err
}

// answerLines answers each line of standard input until it ends.
func answerLines(answer func(request) reply) error {
	lines := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var asked request
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			return err
		}
		if err := out.Encode(answer(asked)); err != nil {
			return err
		}
	}
	return lines.Err()
}
