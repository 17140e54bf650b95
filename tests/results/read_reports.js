// Reads TID 1500 reports with dcmjs and prints what their measurement groups say, as JSON.
// usage: node read_reports.js DCMJS REPORT...
"use strict";

const fs = require("fs");
const dcmjs = require(process.argv[2]);

const list = (value) => (value === undefined ? [] : Array.isArray(value) ? value : [value]);
const name = (item) => list(item.ConceptNameCodeSequence)[0]?.CodeValue;
const code = (item) => list(item?.ConceptCodeSequence)[0]?.CodeMeaning;
const below = (item) => list(item.ContentSequence).flatMap((child) => [child, ...below(child)]);

function read(path) {
  const file = dcmjs.data.DicomMessage.readFile(new Uint8Array(fs.readFileSync(path)).buffer);
  const report = dcmjs.data.DicomMetaDictionary.naturalizeDataset(file.dict);
  return below(report).filter((item) => name(item) === "125007").map((group) => {
    const items = list(group.ContentSequence);
    const find = (value) => items.find((item) => name(item) === value);
    const [probability, threshold] = items.filter((item) => item.ValueType === "NUM");
    const region = below(group).find((item) => item.ValueType === "SCOORD");
    const image = list(list(region.ContentSequence)[0].ReferencedSOPSequence)[0];
    const number = (item) => Number(list(item.MeasuredValueSequence)[0].NumericValue);
    return {
      trackingIdentifier: find("112039").TextValue,
      finding: code(find("121071")),
      site: code(find("363698007")),
      laterality: code(below(find("363698007"))[0]),
      label: list(probability.ConceptNameCodeSequence)[0].CodeMeaning,
      probability: number(probability),
      threshold: number(threshold),
      presence: code(find("705057003")),
      algorithm: find("111001").TextValue,
      graphicType: region.GraphicType,
      graphicData: region.GraphicData,
      image: image.ReferencedSOPInstanceUID,
      frame: image.ReferencedFrameNumber,
    };
  });
}

console.log(JSON.stringify(process.argv.slice(3).map(read)));
