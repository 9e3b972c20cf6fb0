// TorchScript texts of this folder, with their few placeholders filled in. TorchScript from source can neither loop
// over sub-modules nor compute an attribute's name, so what repeats per layer is written once and unrolled:
//
//     #for block                          the lines to #end, once for each row of the list "block"
//         x = getattr(self.convs, "{up}").forward(x)
//     #end
//
// {name} is replaced by the row's value of that name; outside a loop by the value of a list with one row named "".
#pragma once

#include <map>
#include <string>
#include <vector>

namespace styleclip {

using ScriptRow = std::map<std::string, std::string>;
using ScriptRows = std::map<std::string, std::vector<ScriptRow>>;

/// The text torchscript/<name>.torchscript, unrolled. Throws Internal for a placeholder without a value.
std::string script_text(const std::string& name, const ScriptRows& rows = {});

}  // namespace styleclip
