package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ovh/kmip-go"
	"github.com/ovh/kmip-go/kmipserver"
	"github.com/ovh/kmip-go/payloads"
	"github.com/ovh/kmip-go/ttlv"
)

const (
	keyID   = "6f1d2c0a-kmip-go"
	keyName = "kek"
)

// store is the server's only key.
type store struct {
	secret    []byte
	aead      cipher.AEAD
	tagInData bool
}

// switchable is a handler that another takes the place of while the server runs.
type switchable struct {
	current atomic.Pointer[kmipserver.BatchExecutor]
}

func (s *switchable) HandleRequest(ctx context.Context, req *kmip.RequestMessage) *kmip.ResponseMessage {
	return s.current.Load().HandleRequest(ctx, req)
}

func serve(certFile, keyFile, caFile string, delay time.Duration) error {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	config, err := serverTLS(certFile, keyFile, caFile)
	if err != nil {
		return err
	}
	keys, err := newStore()
	if err != nil {
		return err
	}
	handler := &switchable{}
	handler.current.Store(executor(keys, nil))
	kmipListener, err := listen(delay)
	if err != nil {
		return err
	}
	restListener, err := listen(delay)
	if err != nil {
		return err
	}
	server := kmipserver.NewServer(tls.NewListener(kmipListener, config), handler)
	go func() { _ = server.Serve() }()
	go func() { _ = serveREST(restListener, config, keys) }()
	ready := reply{
		Port: port(kmipListener), ID: keyID, Name: keyName,
		REST: &rest{Port: port(restListener), OkmsID: okmsID, ID: restKeyID},
	}
	if err := json.NewEncoder(os.Stdout).Encode(ready); err != nil {
		return err
	}
	return answerLines(func(asked request) reply {
		changed := *keys
		changed.tagInData = asked.TagInData
		handler.current.Store(executor(&changed, asked.Versions))
		return reply{ID: keyID}
	})
}

func newStore() (*store, error) {
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	return &store{secret: secret, aead: aead}, err
}

func listen(delay time.Duration) (net.Listener, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return delayed(listener, delay), nil
}

func port(listener net.Listener) int {
	return listener.Addr().(*net.TCPAddr).Port
}

func serverTLS(certFile, keyFile, caFile string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificate in %s", caFile)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{pair},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    roots,
		MinVersion:   tls.VersionTLS12,
	}, nil
}

func executor(keys *store, versions []string) *kmipserver.BatchExecutor {
	exec := kmipserver.NewBatchExecutor()
	supported := make([]kmip.ProtocolVersion, 0, len(versions))
	for _, version := range versions {
		supported = append(supported, versionOf(version))
	}
	exec.SetSupportedProtocolVersions(supported...)
	exec.Route(kmip.OperationLocate, kmipserver.HandleFunc(keys.locate))
	exec.Route(kmip.OperationGet, kmipserver.HandleFunc(keys.get))
	exec.Route(kmip.OperationGetAttributes, kmipserver.HandleFunc(keys.getAttributes))
	exec.Route(kmip.OperationEncrypt, kmipserver.HandleFunc(keys.encrypt))
	exec.Route(kmip.OperationDecrypt, kmipserver.HandleFunc(keys.decrypt))
	return exec
}

func versionOf(text string) kmip.ProtocolVersion {
	for _, version := range []kmip.ProtocolVersion{kmip.V1_0, kmip.V1_1, kmip.V1_2, kmip.V1_3, kmip.V1_4} {
		if version.String() == text {
			return version
		}
	}
	panic("no version " + text)
}

func (s *store) locate(_ context.Context, req *payloads.LocateRequestPayload) (*payloads.LocateResponsePayload, error) {
	for _, attribute := range req.Attribute {
		if name, ok := attribute.AttributeValue.(kmip.Name); ok && name.NameValue != keyName {
			return &payloads.LocateResponsePayload{}, nil
		}
	}
	return &payloads.LocateResponsePayload{UniqueIdentifier: []string{keyID}}, nil
}

// get gives the key's material, which the Go original asks for with each Status; the plugin must never ask.
func (s *store) get(_ context.Context, req *payloads.GetRequestPayload) (*payloads.GetResponsePayload, error) {
	if req.UniqueIdentifier != keyID {
		return nil, kmipserver.ErrItemNotFound
	}
	return &payloads.GetResponsePayload{
		ObjectType:       kmip.ObjectTypeSymmetricKey,
		UniqueIdentifier: keyID,
		Object: &kmip.SymmetricKey{KeyBlock: kmip.KeyBlock{
			KeyFormatType:          kmip.KeyFormatTypeRaw,
			KeyValue:               &kmip.KeyValue{Plain: &kmip.PlainKeyValue{KeyMaterial: kmip.KeyMaterial{Bytes: &s.secret}}},
			CryptographicAlgorithm: kmip.CryptographicAlgorithmAES,
			CryptographicLength:    256,
		}},
	}, nil
}

func (s *store) getAttributes(
	_ context.Context, req *payloads.GetAttributesRequestPayload,
) (*payloads.GetAttributesResponsePayload, error) {
	if req.UniqueIdentifier != keyID {
		return nil, kmipserver.ErrItemNotFound
	}
	all := []kmip.Attribute{
		{AttributeName: kmip.AttributeNameUniqueIdentifier, AttributeValue: keyID},
		{AttributeName: kmip.AttributeNameName, AttributeValue: kmip.Name{
			NameValue: keyName, NameType: kmip.NameTypeUninterpretedTextString,
		}},
		{AttributeName: kmip.AttributeNameObjectType, AttributeValue: kmip.ObjectTypeSymmetricKey},
		{AttributeName: kmip.AttributeNameCryptographicAlgorithm, AttributeValue: kmip.CryptographicAlgorithmAES},
		{AttributeName: kmip.AttributeNameCryptographicLength, AttributeValue: int32(256)},
		{AttributeName: kmip.AttributeNameCryptographicUsageMask, AttributeValue: kmip.CryptographicUsageEncrypt | kmip.CryptographicUsageDecrypt},
		{AttributeName: kmip.AttributeNameState, AttributeValue: kmip.StateActive},
	}
	return &payloads.GetAttributesResponsePayload{
		UniqueIdentifier: keyID,
		Attribute: slices.DeleteFunc(all, func(attribute kmip.Attribute) bool {
			return len(req.AttributeName) > 0 && !slices.Contains(req.AttributeName, attribute.AttributeName)
		}),
	}, nil
}

// hasTagField says whether the tag travels in a field of its own.
func (s *store) hasTagField(ctx context.Context) bool {
	return !s.tagInData && ttlv.CompareVersions(kmipserver.GetProtocolVersion(ctx), kmip.V1_4) >= 0
}

func (s *store) encrypt(
	ctx context.Context, req *payloads.EncryptRequestPayload,
) (*payloads.EncryptResponsePayload, error) {
	if err := s.check(req.UniqueIdentifier, req.CryptographicParameters, req.IVCounterNonce); err != nil {
		return nil, err
	}
	sealed := s.aead.Seal(nil, req.IVCounterNonce, req.Data, nil)
	reply := &payloads.EncryptResponsePayload{UniqueIdentifier: keyID, Data: sealed}
	if s.hasTagField(ctx) {
		end := len(sealed) - s.aead.Overhead()
		reply.Data, reply.AuthenticatedEncryptionTag = sealed[:end], sealed[end:]
	}
	return reply, nil
}

func (s *store) decrypt(
	ctx context.Context, req *payloads.DecryptRequestPayload,
) (*payloads.DecryptResponsePayload, error) {
	if err := s.check(req.UniqueIdentifier, req.CryptographicParameters, req.IVCounterNonce); err != nil {
		return nil, err
	}
	if s.hasTagField(ctx) != (len(req.AuthenticatedEncryptionTag) > 0) {
		return nil, kmipserver.Errorf(kmip.ResultReasonCryptographicFailure, "the tag is in the wrong place")
	}
	opened, err := s.aead.Open(nil, req.IVCounterNonce, slices.Concat(req.Data, req.AuthenticatedEncryptionTag), nil)
	if err != nil {
		return nil, kmipserver.Errorf(kmip.ResultReasonCryptographicFailure, "%s", err)
	}
	return &payloads.DecryptResponsePayload{UniqueIdentifier: keyID, Data: opened}, nil
}

func (s *store) check(id string, parameters *kmip.CryptographicParameters, iv []byte) error {
	if id != keyID {
		return kmipserver.ErrItemNotFound
	}
	if parameters == nil || parameters.BlockCipherMode != kmip.BlockCipherModeGCM || len(iv) != s.aead.NonceSize() {
		return kmipserver.ErrInvalidField
	}
	return nil
}
