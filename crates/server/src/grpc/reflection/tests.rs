use prost::Message as _;
use prost_types::FileDescriptorProto;
use tonic_reflection::pb::v1::ExtensionRequest;

use super::*;

fn index() -> Index {
    let sets = [
        toolgate_proto::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
    ];
    Index::of(&sets).expect("descriptors")
}

fn file_name(answer: &Answer) -> Option<String> {
    let Answer::FileDescriptorResponse(files) = answer else {
        return None;
    };
    let [file] = &*files.file_descriptor_proto else {
        panic!("one file: {files:?}");
    };
    let file = FileDescriptorProto::decode(&**file).expect("a descriptor");
    file.name
}

fn code(answer: &Answer) -> Option<Code> {
    match answer {
        Answer::ErrorResponse(error) => Some(error.error_code.into()),
        _ => None,
    }
}

#[test]
fn everything_with_a_name_leads_to_its_file() {
    let index = index();
    for symbol in [
        "toolgate.v1.LimiterService",
        "toolgate.v1.LimiterService.Check",
        "toolgate.v1.CheckRequest",
        "toolgate.v1.CheckRequest.server",
        "toolgate.v1.CheckRequest.operation",
        "toolgate.v1.Decision",
        "toolgate.v1.DECISION_DENIED",
    ] {
        let asked = Asked::FileContainingSymbol(symbol.to_owned());
        let name = file_name(&answer(&index, Some(&asked)));
        assert_eq!(
            name.as_deref(),
            Some("toolgate/v1/limiter.proto"),
            "{symbol}"
        );
    }
    let nested = "grpc.health.v1.HealthCheckResponse.ServingStatus".to_owned();
    let nested = answer(&index, Some(&Asked::FileContainingSymbol(nested)));
    let name = file_name(&nested).expect("a file");
    let by_name = answer(&index, Some(&Asked::FileByFilename(name)));
    assert_eq!(by_name, nested);
}

#[test]
fn what_is_not_there_is_an_error_of_its_request_alone() {
    let index = index();
    let name = || "toolgate.v1.Nothing".to_owned();
    let extension = ExtensionRequest {
        containing_type: name(),
        extension_number: 1,
    };
    for (asked, expected) in [
        (Some(Asked::FileContainingSymbol(name())), Code::NotFound),
        (Some(Asked::FileByFilename(name())), Code::NotFound),
        (
            Some(Asked::AllExtensionNumbersOfType(name())),
            Code::NotFound,
        ),
        (
            Some(Asked::FileContainingExtension(extension)),
            Code::NotFound,
        ),
        (None, Code::InvalidArgument),
    ] {
        let answer = answer(&index, asked.as_ref());
        assert_eq!(code(&answer), Some(expected), "{asked:?}");
    }
}

/// grpcurl asks, and wants an answer.
#[test]
fn a_type_without_extensions_has_none() {
    let name = "toolgate.v1.CheckRequest".to_owned();
    let asked = Asked::AllExtensionNumbersOfType(name.clone());
    let Answer::AllExtensionNumbersResponse(numbers) = answer(&index(), Some(&asked)) else {
        panic!("no numbers");
    };
    assert_eq!(
        (numbers.base_type_name, numbers.extension_number),
        (name, vec![])
    );
}

#[test]
fn services_are_listed_once() {
    let asked = Asked::ListServices(String::new());
    let Answer::ListServicesResponse(list) = answer(&index(), Some(&asked)) else {
        panic!("no list");
    };
    let names: Vec<_> = list.service.iter().map(|service| &*service.name).collect();
    assert_eq!(
        names,
        [
            "grpc.health.v1.Health",
            "toolgate.v1.AdminService",
            "toolgate.v1.LimiterService",
        ]
    );
}

#[test]
fn the_older_name_leads_to_the_same_methods() {
    let path = |path: &str| {
        let uri = by_stable_name(&path.parse().expect("a path"))?;
        Some(uri.path().to_owned())
    };
    assert_eq!(
        path("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo").as_deref(),
        Some("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"),
    );
    assert_eq!(path("/grpc.reflection.v1.ServerReflection/X"), None);
}
