
#if __has_include(<ROOT/RDataFrame.hxx>)
// df with the columns of the jets, which are decoded chunk by chunk from the file that df reads: that one alone, without
// implicit multi-threading, in which entries have no numbers.
ATLASAE_FUNCTION ROOT::RDF::RNode unpack(ROOT::RDF::RNode df, const std::string& path) {
    if (ROOT::IsImplicitMTEnabled()) throw std::invalid_argument("atlasae: unpack needs ROOT::DisableImplicitMT()");
    auto reader = std::make_shared<detail::Reader>(path);
    return {defines};
}
#endif

