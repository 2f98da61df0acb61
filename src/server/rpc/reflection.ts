/**
 * gRPC server reflection, v1 and v1alpha, from the generated descriptors: `buf curl` and grpcurl call the socket
 * without a copy of the schema. The two versions have the same messages, so one function answers both.
 * No extensions: proto3 has none here.
 */
import type { DescFile, DescMessage, DescService } from "@bufbuild/protobuf";
import { toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import { Code } from "@connectrpc/connect";
import type {
  ServerReflection,
  ServerReflectionRequest,
} from "../../../gen/grpc/reflection/v1/reflection_pb.ts";
import type {
  ServerReflection as ServerReflectionAlpha,
  ServerReflectionRequest as ServerReflectionRequestAlpha,
} from "../../../gen/grpc/reflection/v1alpha/reflection_pb.ts";

type MessageRequest = (ServerReflectionRequest | ServerReflectionRequestAlpha)["messageRequest"];

/** What is answered beside host and request. */
type MessageResponse =
  | { readonly case: "fileDescriptorResponse"; readonly value: { fileDescriptorProto: Uint8Array[] } }
  | {
      readonly case: "allExtensionNumbersResponse";
      readonly value: { baseTypeName: string; extensionNumber: number[] };
    }
  | { readonly case: "listServicesResponse"; readonly value: { service: { name: string }[] } }
  | { readonly case: "errorResponse"; readonly value: { errorCode: number; errorMessage: string } };

/** Makes both services, for the schema of `services`. @param draining ends every stream */
export function createReflectionServices(
  services: readonly DescService[],
  draining: AbortSignal,
): { v1: ServiceImpl<typeof ServerReflection>; v1alpha: ServiceImpl<typeof ServerReflectionAlpha> } {
  const answer = createAnswers(services);
  return {
    v1: {
      async *serverReflectionInfo(requests) {
        for await (const request of until(requests, draining)) {
          yield {
            validHost: request.host,
            originalRequest: request,
            messageResponse: answer(request.messageRequest),
          };
        }
      },
    },
    v1alpha: {
      async *serverReflectionInfo(requests) {
        for await (const request of until(requests, draining)) {
          yield {
            validHost: request.host,
            originalRequest: request,
            messageResponse: answer(request.messageRequest),
          };
        }
      },
    },
  };
}

/** The items of a stream, until it or `ended` ends. */
async function* until<T>(stream: AsyncIterable<T>, ended: AbortSignal): AsyncGenerator<T> {
  const iterator = stream[Symbol.asyncIterator]();
  const end = Promise.withResolvers<undefined>();
  const onEnd = (): void => {
    end.resolve(undefined);
  };
  if (ended.aborted) onEnd();
  ended.addEventListener("abort", onEnd, { once: true });
  try {
    for (;;) {
      const next = await Promise.race([iterator.next(), end.promise]);
      if (next === undefined || next.done === true) return;
      yield next.value;
    }
  } finally {
    ended.removeEventListener("abort", onEnd);
  }
}

function createAnswers(services: readonly DescService[]): (request: MessageRequest) => MessageResponse {
  const files = withImports(services.map((service) => service.file));
  const byName = new Map(files.map((file) => [file.proto.name, file]));
  const messages = new Map(
    files.flatMap((file) => allMessages(file.messages)).map((desc) => [desc.typeName, desc]),
  );
  const bySymbol = new Map(files.flatMap((file) => symbolsOf(file).map((symbol) => [symbol, file] as const)));

  return (request) => {
    switch (request.case) {
      case "listServices":
        return {
          case: "listServicesResponse",
          value: { service: services.map((service) => ({ name: service.typeName })) },
        };
      case "fileByFilename":
        return fileResponse(byName.get(request.value), request.value);
      case "fileContainingSymbol":
        return fileResponse(bySymbol.get(request.value), request.value);
      case "allExtensionNumbersOfType":
        return messages.has(request.value)
          ? {
              case: "allExtensionNumbersResponse",
              value: { baseTypeName: request.value, extensionNumber: [] },
            }
          : notFound(request.value);
      case "fileContainingExtension":
        return notFound(`${request.value.containingType} extension ${request.value.extensionNumber}`);
      default:
        return errorResponse(Code.InvalidArgument, "no request in the message");
    }
  };
}

/** The file asked for, before it the files that it imports. */
function fileResponse(file: DescFile | undefined, asked: string): MessageResponse {
  if (file === undefined) return notFound(asked);
  const fileDescriptorProto = withImports([file]).map((each) =>
    toBinary(FileDescriptorProtoSchema, each.proto),
  );
  return { case: "fileDescriptorResponse", value: { fileDescriptorProto } };
}

function notFound(what: string): MessageResponse {
  return errorResponse(Code.NotFound, `not found: ${what}`);
}

function errorResponse(errorCode: Code, errorMessage: string): MessageResponse {
  return { case: "errorResponse", value: { errorCode, errorMessage } };
}

function withImports(files: readonly DescFile[]): DescFile[] {
  return [...new Set(files.flatMap((file) => [...withImports(file.dependencies), file]))];
}

function allMessages(messages: readonly DescMessage[]): DescMessage[] {
  return messages.flatMap((message) => [message, ...allMessages(message.nestedMessages)]);
}

/** Every name that a file declares: messages, fields, enumerations and their values, services, methods. */
function symbolsOf(file: DescFile): string[] {
  const messages = allMessages(file.messages);
  const enums = [...file.enums, ...messages.flatMap((message) => message.nestedEnums)];
  return [
    ...messages.flatMap((message) => [
      message.typeName,
      ...message.fields.map((field) => `${message.typeName}.${field.name}`),
      ...message.oneofs.map((oneof) => `${message.typeName}.${oneof.name}`),
    ]),
    // An enumeration's values are named beside it, not inside it, as in C++.
    ...enums.flatMap((desc) => [
      desc.typeName,
      ...desc.values.map((value) => desc.typeName.replace(/[^.]+$/, value.name)),
    ]),
    ...file.services.flatMap((service) => [
      service.typeName,
      ...service.methods.map((method) => `${service.typeName}.${method.name}`),
    ]),
  ];
}
