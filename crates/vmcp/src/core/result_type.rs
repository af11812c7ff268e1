//! Results of backends that speak an older protocol say nothing of their `resultType`, which
//! 2026-07-28 requires; by its rules that means "complete". rmcp takes the field away again for
//! clients that are older.

use rmcp::model::{
    CallToolResponse, CompleteResult, GetPromptResponse, ReadResourceResponse, ResultType,
};

pub(super) fn of_call(mut response: CallToolResponse) -> CallToolResponse {
    if let CallToolResponse::Complete(result) = &mut response {
        result.result_type.get_or_insert(ResultType::COMPLETE);
    }
    response
}

pub(super) fn of_prompt(mut response: GetPromptResponse) -> GetPromptResponse {
    if let GetPromptResponse::Complete(result) = &mut response {
        result.result_type.get_or_insert(ResultType::COMPLETE);
    }
    response
}

pub(super) fn of_read(mut response: ReadResourceResponse) -> ReadResourceResponse {
    if let ReadResourceResponse::Complete(result) = &mut response {
        result.result_type.get_or_insert(ResultType::COMPLETE);
    }
    response
}

pub(super) fn of_completion(mut result: CompleteResult) -> CompleteResult {
    result.result_type.get_or_insert(ResultType::COMPLETE);
    result
}
