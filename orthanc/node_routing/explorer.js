// The study page of Orthanc Explorer: a button that sends the study to the node, its state, and the node's own page.
$('#study').live('pagebeforeshow', function() {
  var study = ($.mobile.pageData || {}).uuid;
  $('#dicom-node').remove();
  if (!study) {
    return;
  }
  var list = $('<ul>').attr({'id': 'dicom-node', 'data-role': 'listview', 'data-inset': 'true', 'data-theme': 'd',
                             'data-divider-theme': 'c'});
  var send = $('<a>').attr({'href': '#', 'id': 'dicom-node-send'}).text('Send to AI');
  var state = $('<li>').attr('id', 'dicom-node-state');
  var page = $('<a>').attr({'id': 'dicom-node-page', 'target': '_blank', 'rel': 'external noopener'})
                     .text('Status on the AI node');
  list.append($('<li>').attr('data-role', 'list-divider').text('AI'),
              $('<li>').attr('data-icon', 'forward').append(send), state, $('<li>').append(page));
  $('#study-access').before(list);
  list.listview();

  function show(answer) {
    page.attr('href', answer.StatusPage);
    state.css('white-space', 'normal').text(answer.State + (answer.Answer ? ': ' + answer.Answer : ''));
  }
  function refresh() {
    if (!$.contains(document.documentElement, list[0]) || $.mobile.activePage.attr('id') !== 'study') {
      return;
    }
    $.getJSON('../dicom-node/studies/' + study, show);
    setTimeout(refresh, 3000);
  }
  send.click(function(event) {
    event.preventDefault();
    $.ajax({url: '../dicom-node/studies/' + study + '/send', type: 'POST', dataType: 'json', data: '',
            success: show, error: function() { state.text('The study could not be sent.'); }});
  });
  $('#study').one('pageshow', refresh);
});
