package main

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
)

const (
	okmsID     = "5d3c1f6e-0b0a-4c53-9a5e-6b1f0c2d7e81"
	restKeyID  = "0f6a2d1b-7c44-4e0e-8f43-2a9d5b3c6e17"
	restKeyURL = "/api/" + okmsID + "/v1/servicekey/" + restKeyID
)

// serviceKey is the key as the OKMS REST API describes it.
var serviceKey = map[string]any{
	"id": restKeyID, "name": keyName, "type": "oct", "size": 256,
	"operations": []string{"encrypt", "decrypt"}, "attributes": map[string]string{"state": "active"},
}

// protected is the header of each JWE: RFC 7516, with the direct use of a key (RFC 7518, sections 4.5 and 5.3).
var protected = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"dir","enc":"A256GCM","kid":"` + restKeyID + `"}`))

// serveREST serves the key by the OKMS REST API, over HTTP/2 and HTTP/1.1.
func serveREST(listener net.Listener, config *tls.Config, keys *store) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+restKeyURL, func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, serviceKey) })
	mux.HandleFunc("GET /api/"+okmsID+"/v1/servicekey", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, map[string]any{"objects_list": []any{serviceKey}, "is_truncated": false, "continuation_token": ""})
	})
	mux.HandleFunc("POST "+restKeyURL+"/encrypt", handle(func(asked restBody) (restBody, error) {
		return restBody{Ciphertext: keys.seal(asked.Plaintext)}, nil
	}))
	mux.HandleFunc("POST "+restKeyURL+"/decrypt", handle(func(asked restBody) (restBody, error) {
		opened, err := keys.open(asked.Ciphertext)
		return restBody{Plaintext: opened}, err
	}))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { refuse(w, 404, "no such key") })
	server := &http.Server{Handler: mux, TLSConfig: config.Clone(), ErrorLog: log.New(io.Discard, "", 0)}
	return server.ServeTLS(listener, "", "")
}

// restBody is what encrypt and decrypt take and give.
type restBody struct {
	Plaintext  []byte `json:"plaintext,omitempty"`
	Ciphertext string `json:"ciphertext,omitempty"`
}

func handle(act func(restBody) (restBody, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var asked restBody
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			refuse(w, 400, err.Error())
			return
		}
		made, err := act(asked)
		if err != nil {
			refuse(w, 400, err.Error())
			return
		}
		answer(w, 200, made)
	}
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func refuse(w http.ResponseWriter, status int, why string) {
	code := map[int]int{400: 2 << 12, 404: 5 << 12}[status]
	answer(w, status, map[string]any{"error_code": code, "error_id": "refused", "errors": []string{why}, "request_id": "kmip-go"})
}

func (s *store) seal(plaintext []byte) string {
	iv := make([]byte, s.aead.NonceSize())
	_, _ = rand.Read(iv)
	sealed := s.aead.Seal(nil, iv, plaintext, []byte(protected))
	end := len(sealed) - s.aead.Overhead()
	part := base64.RawURLEncoding.EncodeToString
	return strings.Join([]string{protected, "", part(iv), part(sealed[:end]), part(sealed[end:])}, ".")
}

func (s *store) open(jwe string) ([]byte, error) {
	parts := strings.Split(jwe, ".")
	if len(parts) != 5 || parts[0] != protected || parts[1] != "" {
		return nil, errors.New("not a JWE of this key")
	}
	var decoded [3][]byte
	for index, part := range parts[2:] {
		var err error
		if decoded[index], err = base64.RawURLEncoding.DecodeString(part); err != nil {
			return nil, err
		}
	}
	if len(decoded[0]) != s.aead.NonceSize() {
		return nil, errors.New("not an initialization vector of AES-GCM")
	}
	return s.aead.Open(nil, decoded[0], append(decoded[1], decoded[2]...), []byte(protected))
}
